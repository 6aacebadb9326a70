"""The runtime of a LiveCheck: created without connecting, closed in order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import ConfigurationError
from livecheck_celery.runtime import OUTBOX_TIMEOUT, REQUEST_TIMEOUT, Runtime
from tests.helpers.factories import make_settings
from tests.helpers.no_network import no_network_io

URL = "redis://127.0.0.1:1/0"


def make_runtime(url: str = URL) -> Runtime:
    app = Celery("shop", broker=URL, set_as_current=False)
    return Runtime(app, make_settings(url), on_data_loss=print)


def test_making_and_closing_a_runtime_opens_no_connection_and_starts_no_thread() -> None:
    before = threading.enumerate()
    with no_network_io():
        runtime = make_runtime()
        runtime.close()
    assert threading.enumerate() == before
    assert not runtime.outbox.running


def test_invalid_redis_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="redis_url"):
        make_runtime("redis://localhost:port/0")


def test_parts_share_one_store_and_code_in_requests_has_another() -> None:
    runtime = make_runtime()
    resources = runtime.runner_resources
    assert resources.store is runtime.store
    assert resources.inbox is runtime.inbox
    assert resources.leases is runtime.leases
    assert resources.deadlines is runtime.deadlines
    assert runtime.inbox._store is runtime.leases._store is runtime.store
    assert runtime.shared_config._store is runtime.request_store is not runtime.store


def test_servers_of_requests_have_a_shorter_timeout_than_those_of_the_outbox_thread() -> None:
    runtime = make_runtime()
    threaded, inline = runtime.outbox._threaded, runtime.outbox._inline
    assert inline == (runtime.request_store, runtime.publisher)
    for servers, timeout in ((inline, REQUEST_TIMEOUT), (threaded, OUTBOX_TIMEOUT)):
        assert servers.store.client.get_connection_kwargs()["socket_timeout"] == timeout
        assert servers.publisher._timeout == timeout


def test_lease_is_a_share_of_recover_within() -> None:
    app = Celery("shop", broker=URL, set_as_current=False)
    runtime = Runtime(app, make_settings(URL, recover_within=50.0), on_data_loss=print)
    assert runtime.leases.lease == 30.0


def test_close_closes_the_outbox_first_and_the_connections_last(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime()
    closed: list[str] = []

    def note(part: str, method: str) -> None:
        original = getattr(getattr(runtime, part), method)

        def call(*args: Any) -> None:
            closed.append(f"{part}.{method}")
            original(*args)

        monkeypatch.setattr(getattr(runtime, part), method, call)

    note("inbox", "stop")
    note("inbox", "join")
    for part in ("outbox", "leases", "deadlines", "event_loop", "publisher", "_connections"):
        note(part, "close")
    runtime.close()
    others = ["inbox.stop", "inbox.join", "leases.close", "deadlines.close", "event_loop.close"]
    assert closed == ["outbox.close", *others, "publisher.close", "_connections.close"]


def test_close_closes_the_rest_if_a_part_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime()
    monkeypatch.setattr(runtime.outbox, "close", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runtime.close()
    assert runtime.inbox._stopping
    assert runtime.leases._closed.is_set()
    assert runtime.deadlines._closed.is_set()
