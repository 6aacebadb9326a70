"""Trouble that many tests, messages or signals share is one log line a minute, with the number of those left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Ignore

from livecheck_celery import Case, LiveCheck, RedisUnavailable, State
from livecheck_celery.cases.runner import TestRunner
from livecheck_celery.delivery.outbox import Outbox
from livecheck_celery.delivery.publisher import CASE_KEYWORD, TEST_KEYWORD
from livecheck_celery.models import EXECUTION
from livecheck_celery.tasks.each import each
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.lifecycle import Lifecycle
from livecheck_celery.tasks.recovery import sweep
from livecheck_celery.utils.throttle import ThrottledLogger
from tests.helpers.factories import CASE, make_sent, make_test


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    return livecheck.add_case(Case, name=CASE)


def unavailable(*_: Any, **__: Any) -> Any:
    raise RedisUnavailable("refused")


def carried(test_id: str, case_name: str = CASE) -> dict[str, Any]:
    """The arguments of the message of a test."""
    return {CASE_KEYWORD: case_name, TEST_KEYWORD: EXECUTION.dump_python(make_test(test_id), mode="json")}


def test_worker_that_ends_with_100_tests_and_no_servers(
    case: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(case.app.runtime.runner_resources.store.executions, "release", unavailable)

    def hand_back(test: Any) -> TestRunner:
        runner = TestRunner(case, test, started=0.0)
        runner._hand_back()
        return runner

    monkeypatch.setattr(case, "execute_here", hand_back)
    monkeypatch.setattr(case.app.runtime.store.executions, "make_due", unavailable)
    for number in range(100):
        with pytest.raises(Ignore):  # the broker refuses connections
            Tasks([case.app]).execute(**carried(f"o-{number}"))
    first, second = caplog.messages
    assert first == f"runner: {CASE}:o-0: not handed back, recovery takes over: refused"
    assert second.startswith(f"tasks: {CASE}:o-0: not handed back, recovery takes over: the broker did not accept")
    caplog.clear()
    Lifecycle(case.app.app, [case.app]).stop(SimpleNamespace(app=case.app.app))
    assert caplog.messages == [
        "worker: 99 more lines were left out of: runner: %s: not handed back, recovery takes over: %s",
        "worker: 99 more lines were left out of: tasks: %s: not handed back, recovery takes over: %s",
    ]


def test_1000_refused_messages(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1_000):
        assert Tasks([case.app]).execute(**carried(f"o-{number}", "shop.gone")) == State.ERROR
    [line] = caplog.messages
    assert line.startswith("tasks: refused a message: unknown case 'shop.gone'; ")


def test_1000_messages_that_redis_does_not_answer(
    case: Any, livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(case, "execute_here", unavailable)
    monkeypatch.setattr(livecheck.runtime.store.executions.open_cases, "due", unavailable)
    for number in range(1_000):
        livecheck.app.tasks["livecheck.execute"](**carried(f"o-{number}"))
        livecheck.app.tasks["livecheck.recover"]()
    assert caplog.messages == ["livecheck.execute: refused", "livecheck.recover: refused"]


def test_1000_cases_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError(name)

    each("recovery", map(str, range(1_000)), fail)
    assert caplog.messages == ["recovery: case 0: failed; continuing with the others"]


def test_100_tests_that_cannot_be_read(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = case.app.runtime.store
    for number in range(100):
        store.executions.record(make_test(f"o-{number}"), expires_in=60.0)
        store.client.hset(store.keys.test(CASE, f"o-{number}"), "payload", "{")
    store.executions.make_due(CASE, [f"o-{number}" for number in range(100)])
    sweep(case)
    [line] = caplog.messages
    assert line.startswith(f"store: skipped Redis key livecheck:{{{CASE}}}:test:o-")


def test_signs_of_life_without_redis(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(livecheck.runtime.store.liveness, "beat_seen", unavailable)
    for _ in range(100):
        Lifecycle(livecheck.app, [livecheck]).beat_alive()
    assert caplog.messages == ["beat: sign of life not recorded: refused"]


def test_10000_dropped_signals(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    runtime = livecheck.runtime
    servers: Any = None
    outbox = Outbox(servers, servers, runtime.shared_config, max_items=0)
    for _ in range(10_000):
        assert not outbox.put(make_sent())
    assert caplog.messages == ["outbox: dropped 1 items so far (full): the outbox is full"]


def test_line_of_the_next_minute_has_the_number(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(livecheck.runtime.store.executions.open_cases, "due", unavailable)
    for _ in range(100):
        livecheck.app.tasks["livecheck.recover"]()
    monkeypatch.setattr("livecheck_celery.utils.throttle.EVERY", 0.0)
    livecheck.app.tasks["livecheck.recover"]()
    assert caplog.messages[1:] == ["livecheck.recover: refused (and 99 more since the last such line)"]
    assert ThrottledLogger.lines.left_out() == {}
