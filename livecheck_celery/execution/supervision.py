"""Call ``execute()`` of a case, which users can override: each test gets a verdict, whatever an override does."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from livecheck_celery.errors import LiveCheckTestRaised
from livecheck_celery.execution.drivers import Driver
from livecheck_celery.execution.nesting import as_current
from livecheck_celery.execution.readable import readable
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.execution.runner import BaseRunner, current_execution
from livecheck_celery.execution.test_log import write
from livecheck_celery.execution.verdicts import is_process_exit
from livecheck_celery.models import TestExecution

#: The error of a test that an ``execute()`` did not execute.
_NOT_EXECUTED: Final = "execute() of the case returned without executing the test; call super().execute(test) in it"

#: Seconds between two checks of a test that ``execute()`` has left running.
_CHECKED_EVERY: Final = 60.0


class ExecutedCase(RunnableCase, Protocol):
    """A case, as far as its `execute` is called here."""

    @property
    def execute(self) -> Callable[[TestExecution], Any]:
        """Executes a test by hand; users can override it."""

    def make_runner(self, test: TestExecution) -> BaseRunner:
        """Return a runner of ``test``."""


@contextmanager
def entered(case: ExecutedCase, test: TestExecution) -> Iterator[BaseRunner]:
    """Make a runner of ``test`` current for the block, and yield it.

    It is a new runner, unless the current one was made for ``test`` and has not executed it.
    """
    runner = current_execution()
    if runner is None or not runner.waits_for(case, test):
        runner = case.make_runner(test)
    with as_current(runner):
        yield runner


def enter_override(case: ExecutedCase, face: Any) -> None:
    """Wrap ``execute()`` of ``case`` if it overrides that of its ``face``: in it, the runner is current."""
    if getattr(type(case), "execute", None) is face.execute:
        return
    execute = case.execute

    @functools.wraps(execute)
    def call(test: TestExecution) -> Any:
        with entered(case, test):
            return execute(test)

    @functools.wraps(execute)
    async def await_call(test: TestExecution) -> Any:
        with entered(case, test):
            return await execute(test)

    vars(case)["execute"] = await_call if inspect.iscoroutinefunction(face.execute) else call


async def supervised(driver: Driver, case: ExecutedCase, test: TestExecution) -> BaseRunner:
    """Execute ``test`` by ``execute()`` of ``case``; return the runner that executed it.

    A test that an overriding ``execute()`` has left to a task or a thread is waited for. If it does not execute the
    test, the verdict is that of what it raises, or ERROR. What it raises after the verdict is logged.

    Raises:
        RedisUnavailable: Redis did not answer for a minute; recovery takes over the execution.
    """
    runner = case.make_runner(test)
    with as_current(runner):
        problem = await _problem(driver, case, test)
    begun = runner.executed_by
    if problem is not None and is_process_exit(problem):
        raise problem
    while begun is not None and not begun.finished.done():  # execute() has left it to a task or a thread
        await driver.wait_for(begun.finished, _CHECKED_EVERY)
    if begun is None:
        if problem is not None and runner.is_interrupted(problem):
            runner.handed_back = True
        else:
            await runner.execute_by(driver, in_place_of_run=problem or LiveCheckTestRaised(_NOT_EXECUTED))
        return runner
    if problem is None or problem is begun.outcome or begun.is_interrupted(problem):
        return begun
    if problem is begun.failure:
        raise problem
    write(case.logger, logging.ERROR, "case %s: execute() raised after the test", case.name, exc_info=problem)
    return begun


async def _problem(driver: Driver, case: ExecutedCase, test: TestExecution) -> BaseException | None:
    """Call ``execute()``; return what it raises."""
    try:
        await driver.result_of("execute()", case.execute(test))
    except BaseException as exc:  # noqa: BLE001 - user code
        return readable(exc)
    return None
