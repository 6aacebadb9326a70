"""Verdicts of exceptions, and of groups of exceptions."""

from __future__ import annotations

import asyncio

import pytest
from billiard.common import _shutdown_cleanup, clear_terminate_handler_fired
from celery.exceptions import WorkerShutdown, WorkerTerminate

from livecheck_celery import LiveCheckTestFailed, LiveCheckTestSkipped, LiveCheckTestTimeout, State
from livecheck_celery.execution.failures import describe
from livecheck_celery.execution.inbox import Interrupted
from livecheck_celery.execution.verdicts import is_hand_back, verdict_of

FAILED, ERROR = AssertionError("wrong side"), ValueError("no price")
TIMEOUT, SKIPPED = LiveCheckTestTimeout("sent"), LiveCheckTestSkipped("no market")


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)


@pytest.mark.parametrize(
    ("error", "state", "deciding"),
    [
        (FAILED, State.FAIL, FAILED),
        (LiveCheckTestFailed("not a number"), State.FAIL, None),
        (TIMEOUT, State.TIMEOUT, TIMEOUT),
        (SKIPPED, State.SKIP, SKIPPED),
        (TimeoutError(), State.ERROR, None),
        (SystemExit(1), State.ERROR, None),
        (KeyboardInterrupt(), State.ERROR, None),
        (asyncio.CancelledError(), State.ERROR, None),
        (group(FAILED), State.FAIL, FAILED),
        (group(TIMEOUT), State.TIMEOUT, TIMEOUT),
        (group(SKIPPED), State.SKIP, SKIPPED),
        (group(group(group(FAILED))), State.FAIL, FAILED),
        (group(TIMEOUT, FAILED), State.FAIL, FAILED),
        (group(ERROR, group(TIMEOUT, FAILED)), State.FAIL, FAILED),
        (group(TIMEOUT, ERROR, SKIPPED), State.ERROR, ERROR),
        (group(SKIPPED, TIMEOUT), State.TIMEOUT, TIMEOUT),
        (group(asyncio.CancelledError(), ERROR), State.ERROR, ERROR),
    ],
)
def test_exceptions_of_a_group_decide_its_verdict(
    error: BaseException, state: State, deciding: BaseException | None
) -> None:
    assert verdict_of(error) == (state, error if deciding is None else deciding)


def test_deeply_nested_group_has_a_verdict() -> None:
    error: BaseException = FAILED
    for _ in range(5_000):
        error = group(error)
    assert verdict_of(error) == (State.FAIL, FAILED)
    assert describe(error) == "wrong side"


def test_description_of_a_large_group_is_bounded() -> None:
    text = describe(group(*(ValueError(number) for number in range(1_000))))
    assert text.startswith("ValueError: 0; also raised: ValueError: 1; also raised: ")
    assert text.endswith("ValueError: 10; also raised: 989 more")


@pytest.mark.parametrize(
    "error",
    [
        Interrupted("stopping"),
        group(Interrupted("stopping")),
        group(FAILED, group(Interrupted("stopping"))),
        WorkerShutdown(0),
        WorkerTerminate(1),
    ],
    ids=repr,
)
def test_interruption_hands_a_test_back_even_if_others_failed(error: BaseException) -> None:
    assert is_hand_back(error)


def test_exit_by_the_signal_handler_of_the_pool_hands_a_test_back() -> None:
    clear_terminate_handler_fired()
    try:
        with pytest.raises(SystemExit) as raised:
            _shutdown_cleanup(-1, None)
    finally:
        clear_terminate_handler_fired()
    assert is_hand_back(raised.value)


def test_exit_of_user_code_does_not_hand_a_test_back() -> None:
    with pytest.raises(SystemExit) as raised:
        raise SystemExit(1)
    assert not is_hand_back(raised.value)
