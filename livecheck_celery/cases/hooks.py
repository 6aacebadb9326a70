"""Call the hooks of a case, which are user code: whatever they raise is logged, and decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from livecheck_celery.execution.deadlines import Deadlines
from livecheck_celery.execution.drivers import Driver
from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.execution.readable import readable
from livecheck_celery.execution.results import is_generator
from livecheck_celery.execution.test_log import write
from livecheck_celery.execution.verdicts import is_cancellation, is_hand_back


async def call_hook(
    driver: Driver,
    hook: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    case_name: str,
    deadlines: Deadlines,
    logger: logging.Logger,
    cancellable: bool = False,
) -> None:
    """Call ``hook``; log what it raises.

    Raises:
        Interrupted: the hook waits, and this process is stopping.
        CancelledError: the hook is ``cancellable``, and the task that runs it is cancelled.
    """
    name = f"{getattr(hook, '__name__', hook)}()"
    with deadlines.watched(f"case {case_name}: {name}") as watched:
        try:
            watched.awaitable = result = hook(*args)
            check_executed(name, result)
            await driver.result_of(watched.what, result)
        except BaseException as exc:
            # A hook decides nothing, whatever it raises.
            error = readable(exc)
            if is_hand_back(error) or (cancellable and is_cancellation(error)):
                raise
            write(logger, logging.ERROR, "case %s: %s raised", case_name, name, exc_info=error)


def check_executed(name: str, result: object) -> None:
    """Check what the method ``name`` has returned.

    Raises:
        TypeError: it is a generator.
    """
    if is_generator(result):
        raise TypeError(f"{name} has a yield, so its code is not executed")


def close_async(stack: AsyncExitStack, case_name: str, event_loop: EventLoop) -> None:
    """Close the ``async_exit_stack`` of a case on the event loop.

    Raises:
        RuntimeError: called on the thread of the loop, which would wait for itself.
    """
    event_loop.finish(stack.aclose(), f"case {case_name}: async_exit_stack")
