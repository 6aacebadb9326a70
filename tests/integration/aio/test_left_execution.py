"""An `execute()` that leaves its test to a task or a thread, and returns."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, State, TestExecution, aio
from livecheck_celery.cases.arguments import build
from tests.helpers.order_case import declare


class Leaving(aio.Case):
    task: Any

    async def execute(self, test: TestExecution) -> Any:
        self.left = asyncio.Event()
        self.task = asyncio.create_task(super().execute(test))
        await asyncio.sleep(0)
        self.left.set()


class LeavingToThread(Case):
    def execute(self, test: TestExecution) -> Any:
        begun = threading.Event()
        self.begun = begun
        threading.Thread(target=copy_context().run, args=(super().execute, test)).start()
        begun.wait(10)


async def runs_on(self: Any) -> None:
    await self.left.wait()


def runs_on_in_a_thread(self: Any) -> None:
    self.begun.set()
    self.sent.send(7)
    assert self.sent.wait(timeout=5) == 7


@pytest.mark.parametrize(("run", "base"), [(runs_on, Leaving), (runs_on_in_a_thread, LeavingToThread)])
def test_test_that_execute_leaves_running_is_waited_for(redis_url: str, run: Any, base: type) -> None:
    face: Any = aio.LiveCheck if base is Leaving else LiveCheck
    livecheck = face(broker_url=redis_url)
    case = declare(livecheck, run, base)
    runner = case.execute_here(build(case, "o-1"))
    assert runner.report is not None
    assert runner.report.state is State.PASS
