"""One execution, from trigger to verdict, against a real server."""

from __future__ import annotations

import asyncio
import logging
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
    Signal,
    SignalEvent,
    State,
    SuiteFailed,
    TestExecution,
    TestReport,
    TestRunner,
    UnknownSignal,
    current_execution,
    current_test,
)
from livecheck_celery.cases.arguments import build
from tests.helpers.plain_asserts import wrong_side, wrong_side_in_words
from tests.helpers.waiting import wait_until


def declare(livecheck: LiveCheck, run: Any, base: type = Case, **options: Any) -> Case:
    cls = type("test_order", (base,), {"run": run, "__annotations__": {"sent": Signal[int], "done": Signal[str]}})
    return livecheck.add_case(cls, name="shop.test_order", **options)


def execute(case: Case, *args: Any, id: str = "o-1", **kwargs: Any) -> TestRunner:
    return case.execute(build(case, id, args, kwargs))


def reports(livecheck: LiveCheck) -> list[TestReport]:
    return livecheck.runtime.store.reports.latest(["shop.test_order"], count=100)


# -- verdicts


def test_returning_is_a_pass(livecheck: LiveCheck) -> None:
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


def raise_error(self: Case) -> None:
    raise KeyError("price")


def leave(self: Case) -> None:
    raise SystemExit(3)


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
def test_what_run_raises_is_the_verdict(livecheck: LiveCheck, run: Any, state: State, error: str) -> None:
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


def test_leaving_the_process_is_a_verdict_before_it_happens(livecheck: LiveCheck) -> None:
    case = declare(livecheck, leave)
    with pytest.raises(SystemExit):
        execute(case)
    assert case.total_by_state == Counter(ERROR=1)


def test_a_cancelled_coroutine_has_a_verdict(livecheck: LiveCheck) -> None:
    async def run(self: Case) -> None:
        raise asyncio.CancelledError

    case = declare(livecheck, run)
    assert execute(case).state is State.ERROR
    assert case.total_by_state == Counter(ERROR=1)


def test_an_inactive_case_skips_and_says_so(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side, active=False)
    runner = execute(case)
    assert runner.state is State.SKIP
    assert reports(livecheck)[0].error == "the case is not active"
    assert case.last_test_received is None, "a skipped test is no sign of life"


def test_an_expired_test_skips_and_says_so(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    test = build(case, "late")
    livecheck.runtime.store.executions.record(test, expires_in=0.05)
    wait_until(lambda: livecheck.runtime.store.executions.due(case.name, 1), what="the test has expired")
    assert case.execute(test).state is State.SKIP
    error = reports(livecheck)[0].error
    assert error is not None
    assert error.startswith("expired 0.")
    assert case.last_test_received is None


def test_a_test_is_executed_once_however_often_it_is_asked_for(livecheck: LiveCheck) -> None:
    ran = []
    case = declare(livecheck, lambda self: ran.append(1))
    test = build(case, "o-1")
    livecheck.runtime.store.executions.record(test, expires_in=60)
    with ThreadPoolExecutor(8) as pool:
        states = Counter(runner.state for runner in pool.map(case.execute, [test] * 8))
    assert states == {State.PASS: 1, State.INIT: 7}
    assert len(ran) == 1
    assert case.total_by_state == Counter(PASS=1)


# -- what the code inside sees


def test_the_current_test_and_execution_are_those_of_the_code_that_asks(livecheck: LiveCheck) -> None:
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


def test_they_are_right_inside_coroutines_too(livecheck: LiveCheck) -> None:
    together = 5
    arrived = []

    async def run(self: Case, number: int) -> None:
        arrived.append(number)
        while len(arrived) < together:
            await asyncio.sleep(0.001)
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


def test_a_signal_sent_before_anybody_waits_is_not_lost(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wait_for_both)
    test = case.trigger("o-1")
    case.sent.send(7, key="o-1", force=True)
    case.done.send("yes", key="o-1", force=True)
    assert livecheck.runtime.outbox.flush()
    runner = case.execute(test)
    assert runner.state is State.PASS, runner.error
    assert list(runner.signal_latency) == ["sent", "done"]
    assert all(0 <= seconds < 0.1 for seconds in runner.signal_latency.values())
    assert list(runner.signal_since_trigger) == ["sent", "done"]
    assert 0 < runner.signal_since_trigger["sent"] <= runner.signal_since_trigger["done"]


@pytest.mark.promise("A signal that arrives before its test is not lost.", theme="signals")
def test_a_signal_that_overtakes_its_trigger_is_not_lost(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wait_for_both)
    case.sent.send(7, key="o-1", force=True)
    case.done.send("yes", key="o-1", force=True)
    assert livecheck.runtime.outbox.flush()
    runner = case.execute(case.trigger("o-1"))
    assert runner.state is State.PASS, runner.error
    assert runner.signal_since_trigger == {"sent": 0.0, "done": 0.0}


def wait_for_both(case: Case) -> None:
    assert case.sent.wait(timeout=5) == 7
    assert case.done.wait(timeout=5) == "yes"


def test_a_signal_wakes_who_waits(livecheck: LiveCheck) -> None:
    waiting = threading.Event()

    def run(self: Case) -> None:
        waiting.set()
        assert self.sent.wait(timeout=10) == 7

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, case)
        assert waiting.wait(10)
        case.sent.send(7, key="o-1", force=True)
        runner = future.result(10)
    assert runner.state is State.PASS, runner.error
    # Well under the two seconds after which the backstop would have found it.
    assert runner.signal_latency["sent"] < 1.5


def test_a_coroutine_awaits_a_signal(livecheck: LiveCheck) -> None:
    waiting = threading.Event()

    async def run(self: Case) -> None:
        waiting.set()
        assert await self.sent.wait_async(timeout=10) == 7

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, case)
        assert waiting.wait(10)
        case.sent.send(7, key="o-1", force=True)
        runner = future.result(10)
    assert runner.state is State.PASS, runner.error


@pytest.mark.promise("`wait()` ends at its one deadline, however often it is woken.", theme="signals")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_wait_ends_at_its_one_deadline_however_often_it_is_woken(livecheck: LiveCheck, is_async: bool) -> None:
    took: list[float] = []

    def run(self: Case) -> None:
        started = time.monotonic()
        try:
            self.sent.wait(timeout=0.6)
        finally:
            took.append(time.monotonic() - started)

    async def run_async(self: Case) -> None:
        started = time.monotonic()
        try:
            await self.sent.wait_async(timeout=0.6)
        finally:
            took.append(time.monotonic() - started)

    case = declare(livecheck, run_async if is_async else run)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, case)
        number = 0
        while not future.done():
            # Each announcement to the test wakes its mailbox, and none is the signal it waits for.
            number += 1
            case.done.send(str(number), key="o-1", force=True)
            livecheck.runtime.outbox.flush()
        runner = future.result()
    assert runner.state is State.TIMEOUT
    assert number > 20
    assert took[0] == pytest.approx(0.6, abs=0.25)


def test_a_timeout_names_the_signal_and_what_arrived(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        self.sent.wait(timeout=5)
        self.done.wait(timeout=0.05)

    case = declare(livecheck, run)
    case.sent.resolve("o-1", SignalEvent("sent", case.name, "o-1", "7"))
    execute(case)
    assert reports(livecheck)[0].error == ("signal done (2 of 2) did not arrive within 0.05 s; arrived so far: sent")


def test_a_wait_without_timeout_ends_when_the_test_expires(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(), test_expires=0.3)
    started = time.monotonic()
    assert execute(case).state is State.TIMEOUT
    assert time.monotonic() - started == pytest.approx(0.3, abs=0.25)


@pytest.mark.promise("A value that does not fit the signal's type is a FAIL that names the field.", theme="signals")
def test_a_value_that_does_not_fit_fails_readably(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=5))
    case.sent.resolve("o-1", SignalEvent("sent", case.name, "o-1", '"seven"'))
    assert execute(case).state is State.FAIL
    assert "signal sent (1 of 2): value is not of type int: Input should be a valid integer" in str(
        reports(livecheck)[0].error
    )


def test_a_value_that_cannot_be_sent_fails_the_test_at_once(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=30))
    case.sent.send(object(), key="o-1", force=True)
    livecheck.runtime.outbox.flush()
    assert execute(case).state is State.FAIL
    assert "signal sent (1 of 2): value cannot be sent as JSON" in str(reports(livecheck)[0].error)


def test_a_value_over_the_limit_fails_the_test_and_names_the_limit(redis_url: str, livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.done.wait(timeout=30))
    case.done.send("x" * (1024 * 1024), key="o-1", force=True)
    livecheck.runtime.outbox.flush()
    assert execute(case).state is State.FAIL
    assert "over the limit of 1048576 (livecheck_max_payload)" in str(reports(livecheck)[0].error)


def test_something_in_redis_that_is_no_signal_fails_the_test_that_waits_for_it(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=30))
    key = livecheck.runtime.store.keys.signals(case.name, "o-1")
    livecheck.runtime.store.client.hset(key, "sent", "not json")
    livecheck.runtime.store.client.expire(key, 60)
    assert execute(case).state is State.FAIL
    assert "LiveCheck did not write" in str(reports(livecheck)[0].error)


def test_a_test_may_wait_for_the_signals_of_another(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(key="parent", timeout=5))
    case.sent.send(1, key="parent", force=True)
    livecheck.runtime.outbox.flush()
    assert execute(case).state is State.PASS


def test_waiting_outside_run_is_an_error_that_says_so(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    with pytest.raises(RuntimeError, match=r"signal sent \(1 of 2\): wait\(\) works only inside run\(\)"):
        case.sent.wait(timeout=1)


def test_wait_in_a_coroutine_says_what_to_write_instead(livecheck: LiveCheck) -> None:
    async def run(self: Case) -> None:
        self.sent.wait(timeout=1)

    case = declare(livecheck, run)
    assert execute(case).state is State.ERROR
    assert "await ...sent.wait_async()" in str(reports(livecheck)[0].error)


def test_an_event_is_routed_to_the_signal_it_names(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=5))
    case.resolve_signal("o-1", SignalEvent("sent", case.name, "o-1", "3"))
    assert execute(case).state is State.PASS
    with pytest.raises(UnknownSignal, match="unknown signal 'sold'; choose from: sent, done"):
        case.resolve_signal("o-1", SignalEvent("sold", case.name, "o-1", "3"))


# -- hooks, logs, suites


class Hooked(Case):
    """Forgets super() everywhere, and raises too."""

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


HOOKS = [name for name in vars(Case) if name.startswith("on_")] + ["post_report"]
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
def test_a_hook_that_forgets_super_or_raises_breaks_nothing(
    livecheck: LiveCheck, run: Any, state: State, expected: list[str]
) -> None:
    case = declare(livecheck, run, base=Hooked, max_consecutive_failures=1)
    assert execute(case).state is state
    assert sorted(case.called) == sorted(expected)
    assert case.total_by_state == Counter({state: 1})
    assert reports(livecheck)[0].state is state
    assert (case.last_fail is not None) == ("on_suite_fail" in expected)


def test_lines_logged_by_a_passing_test_come_as_one_record(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    def run(self: Case) -> None:
        self.log.info("first %s", "line")
        self.current_execution.log_info("second")
        assert not caplog.records

    case = declare(livecheck, run)
    with caplog.at_level(logging.INFO, "livecheck_celery.cases.case"):
        assert execute(case).state is State.PASS
    [record] = caplog.records
    assert record.getMessage() == "[test_order:o-1] PASS; logged:\n  first line\n  second"


def test_realtime_logs_come_as_they_happen(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    def run(self: Case) -> None:
        self.log.warning("now")
        assert [record.getMessage() for record in caplog.records] == ["[test_order:o-1] now"]

    case = declare(livecheck, run, realtime_logs=True)
    with caplog.at_level(logging.INFO, "livecheck_celery.cases.case"):
        assert execute(case).state is State.PASS


def test_the_suite_fails_after_so_many_failures_in_a_row_and_a_pass_is_a_pass(livecheck: LiveCheck) -> None:
    outcome = {"fails": True}

    def run(self: Case) -> None:
        assert not outcome["fails"], "broken"

    told: list[str] = []

    class Told(Case):
        def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            told.append(f"{new_state}: {exc}")

    case = declare(livecheck, run, base=Told, max_consecutive_failures=3)
    for number in range(4):
        execute(case, id=f"fails-{number}")
    assert told == [
        "FAIL: 3 tests failed in a row (limit 3)",
        "FAIL: 4 tests failed in a row (limit 3)",
    ]
    assert (case.consecutive_failures, case.total_failures) == (4, 4)
    assert case.last_fail is not None
    suite_reports = [report for report in reports(livecheck) if report.test is None]
    assert len(suite_reports) == 1, "reported once within state_transition_delay"

    outcome["fails"] = False
    execute(case, id="passes")
    assert case.consecutive_failures == 0
    assert case.total_failures == 4
    assert case.total_by_state == Counter(FAIL=4, PASS=1)
    assert case.status is State.FAIL, "a suite failure younger than state_transition_delay keeps the status"
    case.state_transition_delay = 0.0
    execute(case, id="passes later")
    assert case.status is State.PASS


def test_a_suite_failure_said_by_hand_is_accounted_for_once(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    error = SuiteFailed("the exchange is closed")
    case.on_suite_fail(error)
    assert case.status is State.FAIL
    failed_at = case.last_fail
    case.on_suite_fail(error)
    assert case.last_fail == failed_at
    assert [report.error for report in reports(livecheck)] == ["the exchange is closed"]


def test_reports_of_ones_own_are_published(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    case.post_report(TestReport(case.name, State.PASS, error="by hand"))
    assert [report.error for report in reports(livecheck)] == ["by hand"]


def test_reports_can_be_switched_off(redis_url: str, livecheck: LiveCheck) -> None:
    quiet = LiveCheck(livecheck.app, send_reports=False)
    case = declare(quiet, wrong_side)
    execute(case)
    assert case.total_by_state == Counter(FAIL=1)
    assert reports(quiet) == []


def test_frequency_and_latency_are_measured_between_tests(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: None, frequency=100.0, max_history=3)
    for number in range(5):
        execute(case, id=str(number))
    assert len(case.frequency_history) == len(case.latency_history) == len(case.runtime_history) == 3
    for gap, lateness in zip(case.frequency_history, case.latency_history, strict=True):
        assert 0 < gap < 5
        assert lateness == pytest.approx(gap - 100, abs=1e-5)
    assert case.frequency_avg == sorted(case.frequency_history)[1]


@pytest.mark.promise("An execution costs one Redis round trip at its start and one at its end.", theme="verdicts")
def test_an_execution_costs_one_round_trip_at_its_start_and_one_at_its_end(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        assert self.sent.wait(timeout=5) == 7

    case = declare(livecheck, run)
    execute(case, id="warm")  # loads the scripts, and makes the connections
    test = case.trigger("o-1")
    case.sent.send(7, key="o-1", force=True)
    livecheck.runtime.outbox.flush()
    before = calls(livecheck)
    assert case.execute(test).state is State.PASS
    made = {name: count - before.get(name, 0) for name, count in calls(livecheck).items()}
    assert {name: count for name, count in made.items() if count and name not in ("info", "ping")} == {"evalsha": 2}


def calls(livecheck: LiveCheck) -> dict[str, int]:
    """Commands that clients sent; those that scripts call are left out by looking at what clients can send here."""
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


def test_a_message_that_outlived_its_record_is_not_run(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: pytest.fail("it expired long ago"))
    now = datetime.now(UTC)
    test = TestExecution("old", case.name, now - timedelta(days=2), [], {}, now - timedelta(days=1))
    assert case.execute(test).state is State.SKIP
