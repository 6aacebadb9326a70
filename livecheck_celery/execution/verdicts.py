"""Verdicts: what the exception of a ``run()`` decides."""

from __future__ import annotations

import asyncio
from typing import Final

from celery.exceptions import WorkerShutdown, WorkerTerminate

from livecheck_celery.errors import (
    LiveCheckTestFailed,
    LiveCheckTestRaised,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    SuiteFailed,
    TestOutcome,
)
from livecheck_celery.execution.inbox import Interrupted
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.models import State
from livecheck_celery.store import Verdict

#: The verdict of a group is the first of these that one of its exceptions has.
PRECEDENCE: Final = (State.FAIL, State.ERROR, State.TIMEOUT, State.SKIP)

_OUTCOMES: Final[dict[State, type[TestOutcome]]] = {
    State.SKIP: LiveCheckTestSkipped,
    State.FAIL: LiveCheckTestFailed,
    State.TIMEOUT: LiveCheckTestTimeout,
}
#: Modules whose signal handlers raise in whatever code the main thread is running.
_SIGNAL_HANDLERS: Final = frozenset({"billiard.common", "celery.apps.worker"})


def exceptions_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions that ``error`` holds, groups in groups included; ``[error]`` if it is not a group."""
    found: list[BaseException] = []
    left = [error]
    while left:  # not recursive, since groups can be nested deeply
        each = left.pop()
        if isinstance(each, BaseExceptionGroup):
            left.extend(reversed(each.exceptions))
        else:
            found.append(each)
    return found


def verdict_of(error: BaseException) -> tuple[State, BaseException]:
    """Return the verdict of a ``run()`` that raised ``error``, and the exception that decides it.

    A group has the verdict of the exceptions that it holds; `PRECEDENCE` decides if they differ.
    """
    verdicts = [(_verdict_of_single(each), each) for each in exceptions_of(error)]
    # Cancellation is what a failure does to its siblings.
    verdicts.sort(key=lambda verdict: (PRECEDENCE.index(verdict[0]), isinstance(verdict[1], asyncio.CancelledError)))
    return verdicts[0]


def outcome_of(state: State, error: BaseException, text: str) -> TestOutcome:
    """Return the verdict ``state`` as an exception: ``error`` itself if it is one, or one with the cause ``error``."""
    kind = _OUTCOMES.get(state, LiveCheckTestRaised)
    if isinstance(error, kind):
        return error
    outcome = kind(text)
    outcome.__cause__ = error
    return outcome


def is_hand_back(error: BaseException) -> bool:
    """Return whether ``error`` says that this process stops, so that another worker must run the test."""
    return any(isinstance(each, Interrupted) or is_process_exit(each) for each in exceptions_of(error))


def is_cancellation(error: BaseException) -> bool:
    """Return whether ``error`` is the cancellation of the running task, and not one that its code has raised itself."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return False
    return task is not None and task.cancelling() > 0


def is_process_exit(error: BaseException) -> bool:
    """Return whether Celery or its pool ends the process by ``error``; a ``sys.exit()`` of user code is not one."""
    if isinstance(error, WorkerShutdown | WorkerTerminate):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, SystemExit)
        and trace is not None
        and trace.tb_frame.f_globals.get("__name__") in _SIGNAL_HANDLERS
    )


def suite_failure(verdict: Verdict, case: RunnableCase) -> SuiteFailed | None:
    """Return the failure of the suite that begins with ``verdict``, if one does."""
    if verdict.change == "consecutive":
        limit = case.max_consecutive_failures
        return SuiteFailed(f"{verdict.consecutive_failures} tests failed in a row (limit {limit})")
    if verdict.change == "rate":
        failures, tests = verdict.recent
        return SuiteFailed(
            f"{failures} of the last {tests} tests failed: {failures / tests:.0%} (limit {case.max_failure_rate:.0%})"
        )
    return None


def _verdict_of_single(error: BaseException) -> State:
    if isinstance(error, LiveCheckTestSkipped):
        return State.SKIP
    if isinstance(error, AssertionError | LiveCheckTestFailed):
        return State.FAIL
    if isinstance(error, LiveCheckTestTimeout):
        return State.TIMEOUT
    return State.ERROR
