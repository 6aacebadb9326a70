"""The ping of an outside dead-man's switch: while all is well, and never in anybody's way."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
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
def suite(redis_url: str, switch: Server) -> Iterator[LiveCheck]:
    """A LiveCheck with a case that had its first test."""
    app = Celery("shop", broker=redis_url, set_as_current=False)
    suite = LiveCheck(app, heartbeat_url=switch.url(path="/ping/a-secret"))
    suite.add_case(type("test_order", (Case,), {}), name=CASE)
    test = make_test()
    claim(suite.runtime.store, test)
    judge(suite.runtime.store, test, State.PASS)
    yield suite
    suite.close()


def ping(suite: LiveCheck) -> None:
    """What a worker does once a minute; here, a minute is over at once."""
    suite.runtime.store.client.delete(suite.runtime.store.keys.heartbeat)
    Tasks([suite]).heartbeat()


def test_a_url_is_asked_for_while_all_is_well(suite: LiveCheck, switch: Server) -> None:
    ping(suite)
    [received] = switch.received
    assert (received.method, received.target, received.known_headers()) == ("GET", "/ping/a-secret", {})


def test_of_many_beats_and_workers_one_asks(suite: LiveCheck, switch: Server) -> None:
    at_once(10, lambda _: Tasks([suite]).heartbeat())
    assert len(switch.received) == 1
    assert 0 < suite.runtime.store.client.pttl(suite.runtime.store.keys.heartbeat) <= 60_000


def fail(suite: LiveCheck) -> None:
    report = make_report(State.FAIL)
    suite.runtime.store.suites.fail(CASE, state=State.FAIL, report=report, state_transition_delay=60)


def fall_silent(suite: LiveCheck) -> None:
    suite.runtime.store.client.hset(
        suite.runtime.store.keys.state(CASE), mapping={"received_at": 1, "expected_since": 1}
    )


def lose_the_sweep(suite: LiveCheck) -> None:
    suite.runtime.store.executions.record(make_test("lost"), expires_in=60)
    suite.runtime.store.client.zadd(suite.runtime.store.keys.open(CASE), {"lost": suite.runtime.store.time() - 301})


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (fail, f"case {CASE} is FAIL"),
        (fall_silent, f"case {CASE} is STALL"),
        (lose_the_sweep, "recovery is overdue by 301 s"),
    ],
)
def test_it_is_not_while_something_is_wrong(
    suite: LiveCheck,
    switch: Server,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[LiveCheck], None],
    reason: str,
) -> None:
    harm(suite)
    ping(suite)
    assert switch.received == []
    [record] = caplog.records
    assert record.getMessage() == f"heartbeat: skipped: {reason}"


def test_a_case_that_is_not_active_may_be_as_it_is(suite: LiveCheck, switch: Server) -> None:
    fail(suite)
    fall_silent(suite)
    suite.cases[CASE].active = False
    ping(suite)
    assert len(switch.received) == 1


def test_without_a_url_nothing_is_done(suite: LiveCheck, switch: Server) -> None:
    suite.settings = suite.settings.model_copy(update={"heartbeat_url": None})
    Tasks([suite]).heartbeat()
    assert switch.received == []
    assert not suite.runtime.store.client.exists(suite.runtime.store.keys.heartbeat)


def refused(server: socket.socket) -> None:
    server.close()


def silent(_: socket.socket) -> None:
    """Take the connection, and never answer."""


@pytest.mark.parametrize(("act", "reason"), [(refused, "Connection refused"), (silent, "no complete answer within")])
def test_a_url_that_does_not_answer_is_a_line_in_the_log(
    suite: LiveCheck,
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
        suite.settings = suite.settings.model_copy(update={"heartbeat_url": url})
        act(server)
        started = time.monotonic()
        ping(suite)
    assert time.monotonic() - started < 5
    [record] = caplog.records
    assert "heartbeat: heartbeat_url did not answer" in record.getMessage()
    assert reason in record.getMessage()
    assert "a-secret" not in caplog.text


def test_an_answer_that_is_an_error_is_a_line_in_the_log(
    suite: LiveCheck, switch: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(handler: Any) -> None:
        handler.send_error(404)

    monkeypatch.setattr(switch.RequestHandlerClass, "do_GET", gone)
    ping(suite)
    assert [record.getMessage() for record in caplog.records] == [
        "heartbeat: heartbeat_url did not answer: 404 Not Found (1 attempt)"
    ]


def test_the_longest_a_worker_can_be_held_up_is_what_is_documented() -> None:
    limits = heartbeat._HTTP
    assert limits.timeout_total is not None
    assert (limits.error_retries + 1) * limits.timeout_total + limits.error_retries * limits.error_delay_max <= 11
