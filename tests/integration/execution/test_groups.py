"""Exception groups that ``run()`` raises: what they hold decides the verdict."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    State,
)
from tests.helpers.order_case import declare, execute, reports


async def assert_side(self: Any) -> None:
    raise AssertionError("wrong side")


async def await_signal(self: Any) -> None:
    await self.sent.wait(timeout=0.01)


async def skip(self: Any) -> None:
    raise LiveCheckTestSkipped("no market")


async def raise_error(self: Any) -> None:
    raise ValueError("no price")


async def time_out(self: Any) -> None:
    raise LiveCheckTestTimeout("no answer")


@pytest.mark.promise(
    "A failure in an `asyncio.TaskGroup` has the verdict that it has outside of one.", theme="verdicts"
)
@pytest.mark.parametrize(
    ("steps", "state", "error"),
    [
        ([assert_side], State.FAIL, "wrong side"),
        ([await_signal], State.TIMEOUT, "signal sent (1 of 2) did not arrive within 0.01 s"),
        ([skip], State.SKIP, "no market"),
        ([raise_error], State.ERROR, "ValueError: no price"),
        ([time_out, assert_side, raise_error], State.FAIL, "wrong side"),
        ([time_out, raise_error], State.ERROR, "ValueError: no price"),
    ],
)
def test_what_a_task_group_holds_decides(livecheck: LiveCheck, steps: list[Any], state: State, error: str) -> None:
    async def run(self: Case) -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(group())

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(step(case))

    case = declare(livecheck, run)
    runner = execute(case)
    assert runner.state is state
    assert not isinstance(runner.error, BaseExceptionGroup)
    [report] = reports(livecheck)
    assert report.error.startswith(error)
    for step in steps[1:]:
        assert (
            "no answer" if step is time_out else "no price" if step is raise_error else "wrong side"
        ) in report.error


def test_what_a_task_group_of_anyio_holds_decides(livecheck: LiveCheck) -> None:
    async def run(self: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(assert_side, self)
            tasks.start_soon(asyncio.sleep, 30)

    runner = execute(declare(livecheck, run))
    assert (runner.state, str(runner.error)) == (State.FAIL, "wrong side")


def test_deadline_in_a_task_group_is_a_timeout(livecheck: LiveCheck) -> None:
    async def run(self: Any) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(30))

    runner = execute(declare(livecheck, run, max_runtime=0.05))
    assert runner.state is State.TIMEOUT


def test_what_a_group_of_a_thread_holds_decides(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        try:
            raise ExceptionGroup("two", [ValueError("handled"), AssertionError("wrong side")])
        except* ValueError:
            pass

    assert execute(declare(livecheck, run)).state is State.FAIL


def test_test_that_waits_in_a_task_group_is_handed_back(livecheck: LiveCheck) -> None:
    waiting = threading.Event()

    async def run(self: Any) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sent.wait())
            tasks.create_task(self.done.wait())
            waiting.set()

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, case)
        assert waiting.wait(10)
        livecheck.runtime.inbox.stop()
        runner = future.result(20)
    assert (runner.state, runner.handed_back) == (State.INIT, True)
    assert reports(livecheck) == []
