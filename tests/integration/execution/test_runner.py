"""The runner: verdicts, the current test, hooks and reports, on a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    State,
    TestExecution,
    TestReport,
    TestRunner,
    current_execution,
    current_test,
)
from livecheck_celery.cases.arguments import build
from tests.helpers.order_case import declare, execute, reports
from tests.helpers.plain_asserts import wrong_side, wrong_side_in_words
from tests.helpers.waiting import wait_until


def test_run_that_returns_is_a_pass(livecheck: LiveCheck) -> None:
    seen = []

    def run(self: Case, side: str, *, amount: int) -> None:
        seen.append((side, amount))

    case = declare(livecheck, run)
    runner = execute(case, "buy", amount=3)
    assert seen == [("buy", 3)]
    assert (runner.state, runner.error) == (State.PASS, None)
    assert case.status is State.PASS
    assert case.total_by_state == Counter(PASS=1)
    [report] = reports(livecheck)
    assert report == runner.report
    assert (report.state, report.test, report.error, report.traceback) == (State.PASS, runner.test, None, None)
    assert list(case.runtime_history) == [pytest.approx(runner.runtime, abs=1e-6)]


def test_runner_of_a_case_has_the_constructor_of_the_reference(livecheck: LiveCheck) -> None:
    class OwnRunner(TestRunner):
        def __init__(self, case: Any, test: TestExecution, started: float) -> None:
            super().__init__(case, test, started)
            self.made = True

    @livecheck.case(name="c")
    class test_order(Case):
        Runner = OwnRunner

        def run(self) -> None:
            assert current_execution().made

    assert execute(test_order).state is State.PASS
    assert type(execute(test_order)) is OwnRunner


def raise_error(self: Case) -> None:
    raise KeyError("price")


def time_out(self: Case) -> None:
    raise LiveCheckTestTimeout("the bank did not answer")


def skip(self: Case) -> None:
    raise LiveCheckTestSkipped("no market today")


@pytest.mark.parametrize(
    ("run", "state", "error"),
    [
        (wrong_side, State.FAIL, "assert side == wanted (plain_asserts.py:"),
        (wrong_side_in_words, State.FAIL, "the side is buy, not sell (plain_asserts.py:"),
        (raise_error, State.ERROR, "KeyError: 'price'"),
        (time_out, State.TIMEOUT, "the bank did not answer"),
        (skip, State.SKIP, "no market today"),
    ],
)
def test_exception_of_run_decides_the_verdict(livecheck: LiveCheck, run: Any, state: State, error: str) -> None:
    case = declare(livecheck, run)
    runner = execute(case)
    assert runner.state is state
    assert case.total_by_state == Counter({state: 1})
    [report] = reports(livecheck)
    assert report.state is state
    assert report.error is not None
    assert report.error.startswith(error)
    assert (report.traceback is None) == (state is State.SKIP)
    assert case.status is (State.INIT if state is State.SKIP else state)


def test_execution_of_an_inactive_case_is_a_skip(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side, active=False)
    runner = execute(case)
    assert runner.state is State.SKIP
    assert reports(livecheck)[0].error == "the case is not active"
    assert case.last_test_received is None, "a skipped test does not count as received"


def test_test_that_was_not_run_has_no_runtime(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    runner = execute(declare(livecheck, wrong_side, active=False))
    assert (runner.runtime, reports(livecheck)[0].runtime) == (None, None)
    assert caplog.messages[-1] == "runner: shop.test_order:o-1: SKIP: the case is not active"


def test_expired_test_is_a_skip(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    test = build(case, "late")
    livecheck.runtime.store.executions.record(test, expires_in=0.05)
    wait_until(lambda: livecheck.runtime.store.executions.due(case.name, 1), what="the test has expired")
    assert case.execute_here(test).state is State.SKIP
    error = reports(livecheck)[0].error
    assert error is not None
    assert error.startswith("expired 0.")
    assert case.last_test_received is None


def test_simultaneous_executions_run_a_test_once(livecheck: LiveCheck) -> None:
    ran = []
    case = declare(livecheck, lambda self: ran.append(1))
    test = build(case, "o-1")
    livecheck.runtime.store.executions.record(test, expires_in=60)
    with ThreadPoolExecutor(8) as pool:
        states = Counter(runner.state for runner in pool.map(case.execute_here, [test] * 8))
    assert states == {State.PASS: 1, State.INIT: 7}
    assert len(ran) == 1
    assert case.total_by_state == Counter(PASS=1)


def test_current_test_and_execution_belong_to_the_calling_thread(livecheck: LiveCheck) -> None:
    barrier = threading.Barrier(5)

    def run(self: Case, number: int) -> None:
        for _ in range(20):
            barrier.wait(timeout=10)
            execution = current_execution()
            assert execution is self.current_execution is livecheck.current_execution
            assert execution is not None
            assert execution.test is current_test() is self.current_test is livecheck.current_test
            assert execution.test.test_args == [number]

    case = declare(livecheck, run)
    with ThreadPoolExecutor(5) as pool:
        runners = list(pool.map(lambda n: execute(case, n, id=f"o-{n}"), range(5)))
    assert [runner.state for runner in runners] == [State.PASS] * 5, [runner.error for runner in runners]
    assert current_test() is None
    assert current_execution() is None


def test_current_test_and_execution_belong_to_the_calling_coroutine(livecheck: LiveCheck) -> None:
    together = 5
    all_arrived = asyncio.Barrier(together)

    async def run(self: Case, number: int) -> None:
        async with asyncio.timeout(10):
            await all_arrived.wait()
        for _ in range(20):
            await asyncio.sleep(0)
            assert self.current_test is not None
            assert self.current_test.test_args == [number]
            assert self.current_execution is not None
            assert self.current_execution.test is self.current_test

    case = declare(livecheck, run)
    with ThreadPoolExecutor(together) as pool:
        runners = list(pool.map(lambda n: execute(case, n, id=f"o-{n}"), range(together)))
    assert [runner.state for runner in runners] == [State.PASS] * together, [runner.error for runner in runners]


# -- signals


# -- hooks, logs, suites


class Hooked(Case):
    """Every hook raises, and calls no super()."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.called: list[str] = []

    def _note(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a hook that breaks")


def hook(name: str) -> Any:
    def called(self: Hooked, *args: Any, **kwargs: Any) -> None:
        self.called.append(name)
        raise RuntimeError("a hook that breaks")

    return called


HOOKS = [name for name in dir(Case) if name.startswith("on_")] + ["post_report"]
for _name in HOOKS:
    setattr(Hooked, _name, hook(_name))


@pytest.mark.promise("A hook that raises or forgets `super()` changes no verdict, counter or report.", theme="verdicts")
@pytest.mark.parametrize(
    ("run", "state", "expected"),
    [
        (lambda self: None, State.PASS, ["on_test_start", "on_test_pass", "post_report"]),
        (wrong_side, State.FAIL, ["on_test_start", "on_test_failed", "post_report", "on_suite_fail", "post_report"]),
        (raise_error, State.ERROR, ["on_test_start", "on_test_error", "post_report", "on_suite_fail", "post_report"]),
        (time_out, State.TIMEOUT, ["on_test_start", "on_test_timeout", "post_report", "on_suite_fail", "post_report"]),
        (skip, State.SKIP, ["on_test_start", "on_test_skipped", "post_report"]),
    ],
)
def test_hook_that_forgets_super_or_raises_changes_nothing(
    livecheck: LiveCheck, run: Any, state: State, expected: list[str]
) -> None:
    case = declare(livecheck, run, base=Hooked, max_consecutive_failures=1)
    assert execute(case).state is state
    assert sorted(case.called) == sorted(expected)
    assert case.total_by_state == Counter({state: 1})
    assert reports(livecheck)[0].state is state
    assert (case.last_fail is not None) == ("on_suite_fail" in expected)


def test_post_report_publishes_a_report(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    case.post_report(TestReport(case.name, State.PASS, error="by hand"))
    assert [report.error for report in reports(livecheck)] == ["by hand"]


def test_no_report_is_published_without_send_reports(redis_url: str, livecheck: LiveCheck) -> None:
    quiet = LiveCheck(livecheck.app, send_reports=False)
    case = declare(quiet, wrong_side)
    execute(case)
    assert case.total_by_state == Counter(FAIL=1)
    assert reports(quiet) == []


def test_frequency_and_latency_are_measured_between_tests(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: None, frequency=0.001, max_history=3)
    for number in range(5):
        execute(case, id=str(number))
    assert len(case.frequency_history) == len(case.latency_history) == len(case.runtime_history) == 3
    for gap, lateness in zip(case.frequency_history, case.latency_history, strict=True):
        assert 0 < gap < 5
        assert lateness == pytest.approx(max(0, gap - 0.001), abs=1e-5)
    assert case.frequency_avg == sorted(case.frequency_history)[1]


@pytest.mark.promise("An execution costs one Redis round trip at its start and one at its end.", theme="verdicts")
def test_execution_costs_one_round_trip_at_its_start_and_one_at_its_end(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        assert self.sent.wait(timeout=5) == 7

    case = declare(livecheck, run)
    execute(case, id="warm")  # loads the scripts, and connects
    test = case.trigger("o-1")
    case.sent.send(7, key="o-1", force=True)
    livecheck.runtime.outbox.flush()
    before = calls(livecheck)
    assert case.execute_here(test).state is State.PASS
    made = {name: count - before.get(name, 0) for name, count in calls(livecheck).items()}
    assert {name: count for name, count in made.items() if count and name not in ("info", "ping")} == {"evalsha": 2}


def calls(livecheck: LiveCheck) -> dict[str, int]:
    """Number of calls of each command that clients send; commands that only scripts call are left out."""
    stats = livecheck.runtime.store.client.info("commandstats")
    sent = ("evalsha", "eval", "subscribe", "ping", "info", "hmget", "exists", "script|exists")
    return {
        name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in sent if name not in ("hmget", "exists")
    }


def test_times_are_aware_and_in_utc(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        case = declare(livecheck, wrong_side)
        test: TestExecution = build(case, "o-1")
        assert test.timestamp.utcoffset() == timedelta(0)
        assert abs(test.timestamp - datetime.now(UTC)) < timedelta(seconds=5)
        assert test.expires - test.timestamp == timedelta(hours=3)
        assert test.was_issued_today
        assert not test.is_expired
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_message_that_outlives_its_record_is_not_run(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: pytest.fail("it has expired"))
    now = datetime.now(UTC)
    test = TestExecution("old", case.name, now - timedelta(days=2), [], {}, now - timedelta(days=1))
    assert case.execute_here(test).state is State.SKIP
