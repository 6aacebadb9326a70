"""Failures of a suite: a service that is down, consecutive failures of tests, and `on_suite_fail()`."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, LiveCheckTestTimeout, RedisUnavailable, State, SuiteFailed
from livecheck_celery.delivery.publisher import CASE_KEYWORD
from livecheck_celery.store.schedule_runs import ScheduleRuns
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.order_case import declare, execute, outcomes, reports
from tests.helpers.plain_asserts import wrong_side
from tests.helpers.scripted_http import ok, running, status


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order", url_error_retries=1, url_error_delay_min=0.01, frequency=0.2)
    class test_order(Case): ...

    return test_order


def test_url_methods_return_the_body(case: Any) -> None:
    with running(ok(b"hello")) as server:
        assert case.get_url(server.url) == b"hello"
        assert case.post_url(server.url, json={"side": "buy"}) == b"hello"
    assert case.status is State.INIT


def test_suite_fails_with_a_service_and_recovers_with_it(case: Any) -> None:
    with running(status(503), status(503), ok(b"hello")) as server:
        assert case.get_url(server.url) is None
        assert len(server.hits) == 2
        assert case.status is State.FAIL
        assert outcomes(case) == [(State.FAIL, f"GET {server.url}: 503 Service Unavailable (2 attempts)")]

        assert case.get_url(server.url) == b"hello"
        assert case.status is State.FAIL, "not before state_transition_delay has passed"
        case.state_transition_delay = 0.0
        assert case.get_url(server.url) == b"hello"
        assert case.status is State.PASS


def test_suite_fails_after_consecutive_failures_and_passes_restore_it(livecheck: LiveCheck) -> None:
    outcome = {"fails": True}

    def run(self: Case) -> None:
        assert not outcome["fails"], "broken"

    calls: list[str] = []

    class Recording(Case):
        def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            calls.append(f"{new_state}: {exc}")

    case = declare(livecheck, run, base=Recording, max_consecutive_failures=3)
    for number in range(4):
        execute(case, id=f"fails-{number}")
    assert calls == ["FAIL: 3 tests failed in a row (limit 3)"], "called once, not for every further failed test"
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


@pytest.mark.promise("A suite with too many failed tests fails, even if others pass between them.", theme="verdicts")
def test_suite_fails_once_when_too_many_of_its_recent_tests_fail(livecheck: LiveCheck) -> None:
    def run(self: Case, passes: bool) -> None:
        if not passes:
            raise LiveCheckTestTimeout("signal sent did not arrive")

    calls: list[str] = []

    class Recording(Case):
        def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            calls.append(f"{new_state}: {exc}")

    case = declare(livecheck, run, base=Recording)
    for number in range(50):  # 40 % fail, never two in a row
        execute(case, number % 5 not in (1, 3), id=str(number))
        if number > 21:
            assert not case.status.is_ok(), "a pass between two failed tests restores no status"
    assert calls == ["FAIL: 9 of the last 22 tests failed: 41% (limit 20%)"]
    assert case.failure_rate == 0.4
    assert case.failing_since is not None
    assert [report.error for report in reports(livecheck) if report.test is None] == [calls[0].removeprefix("FAIL: ")]
    assert case.consecutive_failures <= 1
    for number in range(20):
        execute(case, True, id=f"repaired-{number}")
    assert case.failing_since is None


class Recording(Case):
    """Requests a service that is down, in tests and in fake requests; records calls of its hook."""

    called: list[str]

    def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        self.called.append(str(new_state))

    def make_fake_request(self) -> None:
        raise ValueError("broken")


def test_suite_that_each_request_fails_calls_its_hook_once(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        assert self.get_url("http://127.0.0.1:1/") is None

    case: Any = declare(livecheck, run, base=Recording, url_error_retries=0)
    case.called = []
    for number in range(5):
        execute(case, id=str(number))
    assert case.called == ["FAIL"]
    case.state_transition_delay = 0.0
    execute(case, id="later")
    assert case.called == ["FAIL"] * 2, "as its report: again after state_transition_delay"


def test_fake_requests_that_raise_call_the_hook_once(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScheduleRuns, "claim", lambda *_, **__: True)
    case: Any = declare(livecheck, wrong_side, base=Recording, frequency=60)
    case.called = []
    for _ in range(5):
        Tasks([livecheck]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert case.called == ["ERROR"]


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_too_many_failed_tests_call_the_hook_after_another_failure_too(livecheck: LiveCheck, delay: float) -> None:
    case: Any = declare(livecheck, wrong_side, base=Recording, max_consecutive_failures=3)
    case.called, case.state_transition_delay = [], delay
    case.fail_suite(SuiteFailed("a stall, a moment before"), State.STALL)
    for number in range(5):
        execute(case, id=str(number))
    assert case.called == ["STALL", "FAIL"]


def test_suite_failure_reported_by_hand_is_counted_once(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    error = SuiteFailed("the exchange is closed")
    case.on_suite_fail(error)
    assert case.status is State.FAIL
    failed_at = case.last_fail
    case.on_suite_fail(error)
    assert case.last_fail == failed_at
    assert [report.error for report in reports(livecheck)] == ["the exchange is closed"]


class Flaky:
    """Stands in for a method of the store: raises at its first calls."""

    def __init__(self, method: Any, failures: int) -> None:
        self._method = method
        self._failures = failures

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._failures > 0:
            self._failures -= 1
            raise RedisUnavailable("Redis did not answer")
        return self._method(*args, **kwargs)


@pytest.mark.promise("An outage of Redis of some seconds fails no request of a case.", theme="cases")
def test_request_waits_for_redis_after_its_answer(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suites = case.app.runtime.store.suites
    for name in ("service_recovered", "fail"):
        monkeypatch.setattr(suites, name, Flaky(getattr(suites, name), 2))
    with running(ok(b"hello"), status(404)) as server:
        assert case.get_url(server.url) == b"hello"
        assert case.get_url(server.url) is None
    assert case.status is State.FAIL
    assert len(reports(case.app)) == 1


def test_failure_whose_reply_from_redis_is_lost_calls_the_hooks(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    @livecheck.case(name="shop.test_hooks", url_error_retries=0)
    class test_hooks(Case):
        def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            called.append("on_suite_fail")

        def post_report(self, report: Any) -> None:
            called.append("post_report")

    suites = livecheck.runtime.store.suites
    fail, lost = suites.fail, [RedisUnavailable("Redis did not answer")]

    def fail_without_a_reply(*args: Any, **options: Any) -> bool:
        is_new = fail(*args, **options)
        if lost:
            raise lost.pop()
        return is_new

    monkeypatch.setattr(suites, "fail", fail_without_a_reply)
    with running(status(404)) as server:
        assert test_hooks.get_url(server.url) is None
    assert called == ["post_report", "on_suite_fail"]


def test_answer_is_returned_after_a_long_outage_of_redis(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecheck_celery.store.retry.RETRY_FOR", 0.0)
    suites = case.app.runtime.store.suites
    monkeypatch.setattr(suites, "service_recovered", Flaky(suites.service_recovered, 10))
    with running(ok(b"hello")) as server:
        assert case.get_url(server.url) == b"hello"


def test_failure_that_user_code_reports_does_not_wait_for_redis(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suites = case.app.runtime.store.suites
    monkeypatch.setattr(suites, "fail", Flaky(suites.fail, 1))
    with pytest.raises(RedisUnavailable):
        case.on_suite_fail(SuiteFailed("the exchange is closed"))


def test_stall_of_a_case_waits_for_no_other(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [livecheck.add_case(type("test", (Case,), {}), name=f"c{number}") for number in range(5)]
    suites = livecheck.runtime.store.suites
    monkeypatch.setattr(suites, "stalled", lambda limits, **_: dict.fromkeys(limits, 2.0))
    fail = suites.fail

    def fail_unless_second(case_name: str, **options: Any) -> bool:
        if case_name == "c1":
            raise RedisUnavailable("its shard is down")
        return fail(case_name, **options)

    monkeypatch.setattr(suites, "fail", fail_unless_second)
    started = time.monotonic()
    with pytest.raises(RedisUnavailable):
        Tasks([livecheck]).check_stalled()
    assert time.monotonic() - started < 10
    assert [case.status for case in cases] == [State.STALL, State.INIT, *[State.STALL] * 3]
