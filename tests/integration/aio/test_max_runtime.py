"""A coroutine that is cancelled at its deadline is a TIMEOUT, whatever it does with the cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from livecheck_celery import LiveCheckTestSkipped, State, aio
from tests.helpers.order_case import declare, execute


async def suppresses_it(_: Any) -> None:
    with suppress(BaseException):
        await asyncio.sleep(60)


async def returns_a_result(_: Any) -> Any:
    try:
        await asyncio.sleep(60)
    finally:
        return 7  # noqa: B012 - the mistake


async def fails_to_clean_up(_: Any) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError("not clean")


async def fails_in_a_task(_: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fails_to_clean_up(_))


async def asserts_late(_: Any) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        assert not "late"


async def skips_late(_: Any) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise LiveCheckTestSkipped("late") from None


@pytest.mark.promise("A test that is cancelled at max_runtime is a TIMEOUT, whatever it does then.", theme="aio")
@pytest.mark.parametrize(
    ("run", "then"),
    [
        (suppresses_it, ", and ignored its cancellation"),
        (returns_a_result, ", and ignored its cancellation"),
        (fails_to_clean_up, "; then it raised ValueError: not clean"),
        (fails_in_a_task, "; then it raised ExceptionGroup: unhandled errors in a TaskGroup"),
        (asserts_late, "; then it raised AssertionError"),
        (skips_late, "; then it raised LiveCheckTestSkipped: late"),
    ],
)
def test_cancelled_test_times_out(livecheck: aio.LiveCheck, run: Any, then: str) -> None:
    runner = execute(declare(livecheck, run, max_runtime=0.05))
    assert runner.state is State.TIMEOUT, runner.error
    assert str(runner.error).startswith("run() was stopped after 0.")
    assert then in str(runner.error)
