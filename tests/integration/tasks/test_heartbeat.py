"""The ping of an external dead-man's switch: sent while all cases are healthy, bounded in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import Case, LiveCheck, State
from livecheck_celery.tasks import heartbeat
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_test
from tests.helpers.http_server import Server, running
from tests.helpers.waiting import at_once


@pytest.fixture
def switch() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def livecheck(redis_url: str, switch: Server) -> Iterator[LiveCheck]:
    """A LiveCheck with a case whose first test passed."""
    app = Celery("shop", broker=redis_url, set_as_current=False)
    livecheck = LiveCheck(app, heartbeat_url=switch.url(path="/ping/a-secret"))
    livecheck.add_case(type("test_order", (Case,), {}), name=CASE)
    test = make_test()
    claim(livecheck.runtime.store, test)
    judge(livecheck.runtime.store, test, State.PASS)
    yield livecheck
    livecheck.close()


def ping(livecheck: LiveCheck) -> None:
    """Ping as a worker does once a minute, without waiting for the minute."""
    livecheck.runtime.store.client.delete(livecheck.runtime.store.keys.heartbeat)
    Tasks([livecheck]).heartbeat()


def test_url_is_pinged_while_all_cases_are_healthy(livecheck: LiveCheck, switch: Server) -> None:
    ping(livecheck)
    [received] = switch.received
    assert (received.method, received.target, received.known_headers()) == ("GET", "/ping/a-secret", {})


def test_url_is_pinged_once_by_many_workers(livecheck: LiveCheck, switch: Server) -> None:
    at_once(10, lambda _: Tasks([livecheck]).heartbeat())
    assert len(switch.received) == 1
    assert 0 < livecheck.runtime.store.client.pttl(livecheck.runtime.store.keys.heartbeat) <= 60_000


def fail(livecheck: LiveCheck) -> None:
    report = make_report(State.FAIL)
    livecheck.runtime.store.suites.fail(CASE, state=State.FAIL, report=report, state_transition_delay=60, token="f")


def fail_too_often(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.client.hset(livecheck.runtime.store.keys.suite(CASE), "failing_since", 1)


def fall_silent(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.client.hset(
        livecheck.runtime.store.keys.suite(CASE), mapping={"received_at": 1, "expected_since": 1}
    )


def lose_the_sweep(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.executions.record(make_test("lost"), expires_in=60)
    livecheck.runtime.store.client.zadd(
        livecheck.runtime.store.keys.open(CASE), {"lost": livecheck.runtime.store.time() - 301}
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (fail, f"case {CASE} is FAIL"),
        (fall_silent, f"case {CASE} is STALL"),
        (fail_too_often, f"case {CASE}: too many tests fail"),
        (lose_the_sweep, "recovery is overdue by 301 s"),
    ],
)
def test_ping_is_skipped_and_its_reason_logged(
    livecheck: LiveCheck,
    switch: Server,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[LiveCheck], None],
    reason: str,
) -> None:
    damage(livecheck)
    ping(livecheck)
    assert switch.received == []
    [record] = caplog.records
    assert record.getMessage() == f"heartbeat: skipped: {reason}"


def test_inactive_case_does_not_prevent_the_ping(livecheck: LiveCheck, switch: Server) -> None:
    fail(livecheck)
    fall_silent(livecheck)
    livecheck.cases[CASE].active = False
    ping(livecheck)
    assert len(switch.received) == 1


def test_ping_is_sent_without_netrc_and_proxies_of_the_environment(
    livecheck: LiveCheck, switch: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login robot password netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    ping(livecheck)
    [received] = switch.received
    assert "Authorization" not in dict(received.headers)


def test_nothing_is_pinged_without_a_url(livecheck: LiveCheck, switch: Server) -> None:
    livecheck.settings = livecheck.settings.model_copy(update={"heartbeat_url": None})
    Tasks([livecheck]).heartbeat()
    assert switch.received == []
    assert not livecheck.runtime.store.client.exists(livecheck.runtime.store.keys.heartbeat)


def refused(server: socket.socket) -> None:
    server.close()


def silent(_: socket.socket) -> None:
    """Accept the connection, and never answer."""


@pytest.mark.parametrize(("act", "reason"), [(refused, "Connection refused"), (silent, "no complete answer within")])
def test_url_that_does_not_answer_is_logged(
    livecheck: LiveCheck,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[socket.socket], None],
    reason: str,
) -> None:
    monkeypatch.setattr(
        heartbeat, "_HTTP", replace(heartbeat._HTTP, timeout_total=0.2, error_delay_min=0.01, error_delay_max=0.01)
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/ping/a-secret"
        livecheck.settings = livecheck.settings.model_copy(update={"heartbeat_url": url})
        act(server)
        started = time.monotonic()
        ping(livecheck)
    assert time.monotonic() - started < 5
    [record] = caplog.records
    assert "heartbeat: heartbeat_url did not answer" in record.getMessage()
    assert reason in record.getMessage()
    assert "a-secret" not in caplog.text


def test_error_response_is_logged(
    livecheck: LiveCheck, switch: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(handler: Any) -> None:
        handler.send_error(404)

    monkeypatch.setattr(switch.RequestHandlerClass, "do_GET", gone)
    ping(livecheck)
    assert [record.getMessage() for record in caplog.records] == [
        f"heartbeat: heartbeat_url did not answer: {switch.url(path='')}: 404 Not Found (1 attempt)"
    ]


def test_ping_takes_at_most_the_documented_time() -> None:
    limits = heartbeat._HTTP
    assert limits.timeout_total is not None
    assert (limits.error_retries + 1) * limits.timeout_total + limits.error_retries * limits.error_delay_max <= 11
