"""Call the hooks of a case, which are user code: whatever they raise is logged, and decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from livecheck_celery.execution.deadlines import Deadlines, Watched
from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.execution.readable import readable
from livecheck_celery.execution.results import is_generator
from livecheck_celery.execution.test_log import write
from livecheck_celery.execution.verdicts import is_hand_back


def call_hook(
    hook: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    case_name: str,
    event_loop: EventLoop,
    deadlines: Deadlines,
    logger: logging.Logger,
) -> None:
    """Call ``hook``, ``def`` or ``async def``; called by a coroutine, an ``async def`` hook runs at its next await.

    Raises:
        Interrupted: the hook waits, and this process is stopping.
    """
    name = f"{getattr(hook, '__name__', hook)}()"

    def failed(error: BaseException) -> None:
        error = readable(error)
        if is_hand_back(error):
            raise error
        write(logger, logging.ERROR, "case %s: %s raised", case_name, name, exc_info=error)

    with deadlines.watched(f"case {case_name}: {name}") as watched:
        _call(hook, args, watched, event_loop, failed)


def close_async(stack: AsyncExitStack, case_name: str, event_loop: EventLoop) -> None:
    """Close the ``async_exit_stack`` of a case; raise what a callback of it raises."""

    def failed(error: BaseException) -> None:
        raise error

    event_loop.complete(stack.aclose(), f"case {case_name}: async_exit_stack", failed)


def _call(
    hook: Callable[..., Any],
    args: tuple[Any, ...],
    watched: Watched,
    event_loop: EventLoop,
    failed: Callable[[BaseException], object],
) -> None:
    try:
        result = hook(*args)
        if is_generator(result):
            raise TypeError(f"{hook.__name__}() has a yield, so its code is not executed")  # noqa: TRY301 - logged below
    except BaseException as exc:  # noqa: BLE001 - a hook decides nothing, whatever it raises
        failed(exc)
    else:
        watched.awaitable = result
        event_loop.complete(result, watched.what, failed)
