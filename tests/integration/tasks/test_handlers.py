"""The tasks: stalled checks, signs of life, and messages that cannot be executed."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from celery.signals import task_revoked

from livecheck_celery import Case, LiveCheck, State
from livecheck_celery.delivery.publisher import CASE_KEYWORD, TEST_KEYWORD
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.factories import make_test
from tests.helpers.order_case import outcomes
from tests.helpers.waiting import wait_until


def test_stalled_suite_fails_once_per_period(case: Any) -> None:
    case.warn_stalled_after = 0.3
    tasks = Tasks([case.app])

    def check() -> int:
        tasks.check_stalled()
        return sum(state is State.STALL for state, _ in outcomes(case))

    assert check() == 0, "the limit counts from the first check"
    wait_until(lambda: check() == 1, what="the first warning")
    assert case.status is State.STALL
    assert case.last_fail is not None
    assert check() == 1, "not again within the same period"
    assert "no test received for 0." in str(outcomes(case)[0][1])
    assert "(limit 0.3 s)" in str(outcomes(case)[0][1])


def test_stalled_check_covers_every_case_of_every_livecheck(livecheck: LiveCheck, redis_url: str) -> None:
    other = LiveCheck(livecheck.app, prefix="livecheck-other")
    livechecks = [livecheck, other]
    cases = [
        each.case(name=f"shop.test_{number}", warn_stalled_after=0.2)(type(f"test_{number}", (), {}))
        for each in livechecks
        for number in range(3)
    ]
    patient = livecheck.case(name="patient", warn_stalled_after=60)(type("patient", (), {}))
    tasks = Tasks(livechecks)
    wait_until(lambda: tasks.check_stalled() or all(outcomes(case) for case in cases), what="a warning for each case")
    assert {state for case in cases for state, _ in outcomes(case)} == {State.STALL}
    assert outcomes(patient) == []
    other.close()


def test_inactive_case_is_neither_requested_nor_stalled(case: Any) -> None:
    case.active = False
    case.warn_stalled_after = 0.0
    type(case).make_fake_request = lambda self: pytest.fail("the case is not active")
    for _ in range(3):
        Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
        Tasks([case.app]).check_stalled()
    assert outcomes(case) == []
    assert case.status is State.INIT


def test_reactivated_case_is_not_stalled_at_once(case: Any) -> None:
    case.warn_stalled_after, case.active = 0.5, False
    case.app.runtime.store.client.hset(case.app.runtime.store.keys.suite(case.name), "received_at", 1)
    tasks = Tasks([case.app])
    tasks.check_stalled()
    case.active = True
    assert case.status is State.INIT
    tasks.check_stalled()
    assert outcomes(case) == []
    wait_until(lambda: case.status is State.STALL)


def test_scheduled_tasks_record_a_sign_of_life(livecheck: LiveCheck) -> None:
    for task in (Tasks([livecheck]).recover, Tasks([livecheck]).check_stalled):
        task()
        assert livecheck.runtime.store.liveness.read() == (None, pytest.approx(0, abs=5))
        livecheck.runtime.store.client.delete(livecheck.runtime.store.keys.schedules)


def test_message_for_an_unknown_case_is_reported(case: Any) -> None:
    assert Tasks([case.app]).execute("o-1", **{CASE_KEYWORD: "shop.test_gone"}) == "ERROR"
    [report] = case.app.runtime.store.reports.latest(None, count=10)
    assert (report.case_name, report.state) == ("shop.test_gone", State.ERROR)
    assert report.error == "unknown case 'shop.test_gone'; add its module to this worker's imports or livecheck_cases"


@pytest.mark.parametrize("carried", ["nonsense", {"id": "o-1"}, 3])
def test_message_without_a_valid_execution_is_reported(case: Any, carried: Any) -> None:
    message = {CASE_KEYWORD: case.name, "livecheck_test": carried}
    assert Tasks([case.app]).execute(**message) == "ERROR"
    [(state, error)] = outcomes(case)
    assert state is State.ERROR
    assert str(error).startswith("a message for case shop.test_order has no valid execution: ")


def test_message_with_the_execution_of_another_case_is_refused(case: Any) -> None:
    ran: list[str] = []
    kind = type("test_other", (Case,), {"run": lambda self: ran.append(self.name)})
    other = case.app.add_case(kind, name="shop.test_other")
    test = make_test("o-1", case.name)
    case.app.runtime.store.executions.record(test, expires_in=60.0)
    assert Tasks([case.app]).execute(**{CASE_KEYWORD: other.name, TEST_KEYWORD: test.as_message()}) == "ERROR"
    [(state, error)] = outcomes(other)
    assert state is State.ERROR
    assert error == "a message for case shop.test_other has an execution of case 'shop.test_order'"
    assert (ran, outcomes(case)) == ([], [])
    assert case.app.runtime.store.executions.open_count(case.name) == 1, "its own message can still run it"


def carried_by(case: Any) -> dict[str, Any]:
    """Return the arguments of the message of a test."""
    return {CASE_KEYWORD: case.name, TEST_KEYWORD: make_test("o-1", case.name).as_message()}


def revoke(case: Any, expired: bool = False, task: str = "livecheck.execute", **message: Any) -> None:
    """Have the worker of the case's app find that the task was revoked."""
    request = SimpleNamespace(id="task-1", kwargs={**carried_by(case), **message})
    task_revoked.send(sender=case.app.app.tasks[task], request=request, terminated=False, signum=None, expired=expired)


def reported(case: Any) -> Any:
    """Return the verdicts of the tests, once the threads that write them have ended."""
    for thread in threading.enumerate():
        if thread.name == "livecheck-revoked":
            thread.join(10.0)
    return outcomes(case)


def test_test_of_a_revoked_task_is_skipped(case: Any) -> None:
    case.app.runtime.store.executions.record(make_test("o-1", case.name), expires_in=60.0)
    revoke(case)
    [(state, error)] = reported(case)
    assert state is State.SKIP
    assert "revoked" in str(error)
    revoke(case)
    assert len(reported(case)) == 1, "it has its verdict"


def test_message_that_expired_or_is_not_of_a_test_gives_no_verdict(case: Any) -> None:
    case.app.runtime.store.executions.record(make_test("o-1", case.name), expires_in=60.0)
    revoke(case, expired=True)
    revoke(case, task="livecheck.recover")
    revoke(case, **{TEST_KEYWORD: None})  # of a chain: nothing is recorded
    assert reported(case) == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [({CASE_KEYWORD: "shop.gone"}, "unknown case 'shop.gone'"), ({TEST_KEYWORD: 3}, "has no valid execution")],
    ids=["unknown case", "no execution"],
)
def test_revoked_message_that_cannot_be_read_is_one_log_line(
    case: Any, caplog: pytest.LogCaptureFixture, message: dict[str, Any], reason: str
) -> None:
    revoke(case, **message)
    [line] = caplog.messages
    assert line.startswith("tasks: a revoked test keeps its verdict: ")
    assert reason in line
    assert reported(case) == []


def test_worker_without_threads_leaves_a_revoked_test_to_recovery(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    case.app.runtime.store.executions.record(make_test("o-1", case.name), expires_in=60.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        revoke(case)
    assert reported(case) == []


def test_test_of_a_terminated_task_is_taken_from_the_process_that_runs_it(case: Any) -> None:
    test = make_test("o-1", case.name)
    store = case.app.runtime.store
    store.executions.record(test, expires_in=60.0)
    store.executions.claim(
        test, token="t", address="a", lease=30, active=True, frequency=None, max_history=10, expires_in=60
    )
    execute = case.app.app.tasks["livecheck.execute"]
    execute.before_terminate(SimpleNamespace(id="task-1", kwargs=carried_by(case)))
    assert store.executions.renew([(case.name, "o-1", "t")], 30) == [(case.name, "o-1", "t")], "the process has lost it"
    execute.before_terminate(SimpleNamespace(id="task-1", kwargs={CASE_KEYWORD: case.name}))
