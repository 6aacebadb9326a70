"""The tasks: stalled checks, signs of life, and messages that cannot be executed."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery import LiveCheck, State
from livecheck_celery.delivery.publisher import CASE_KEYWORD
from livecheck_celery.tasks.handlers import Tasks
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
