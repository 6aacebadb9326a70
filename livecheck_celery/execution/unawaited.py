"""Coroutines that a test drops without awaiting them: Python warns, and the test does not pass.

Python calls a function of `warnings` when a coroutine that never began is destroyed, in the context of the code that
drops it. A function that is in its place notes the coroutine for the test whose ``run()`` is executed there.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final, cast

_HOOK: Final = "_warn_unawaited_coroutine"
#: Phases of the garbage collector, the current one last. It moves them itself: the exception of a signal handler, such
#: as a soft time limit, would be lost in a callback that is written in Python.
_phases: Final = OrderedDict.fromkeys(["start", "stop"])
_lock: Final = threading.Lock()
_is_watched = False


def watch(note: Callable[[str], None]) -> None:
    """Call ``note`` with the name of each coroutine that is dropped from now on; the first call decides."""
    global _is_watched  # noqa: PLW0603 - of the process, as the function that is replaced
    with _lock:
        warn = getattr(warnings, _HOOK, None)
        if _is_watched or warn is None:
            return
        _is_watched = True

    def warn_and_note(coroutine: Any) -> None:
        if next(reversed(_phases)) != "start":  # garbage can be of any test
            note(getattr(coroutine, "__qualname__", "a coroutine"))
        warn(coroutine)

    gc.callbacks.append(cast("Any", _phases.move_to_end))  # the second argument is true
    setattr(warnings, _HOOK, warn_and_note)


def has_ended(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Return whether a coroutine has returned or raised."""
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def is_never_awaited(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Return whether a coroutine has not begun, and is not that of a task of the running loop."""
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED and _task_of(coroutine) is None


def is_left_running(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Return whether a coroutine has not ended, in a task of the running loop that nobody has cancelled."""
    if has_ended(coroutine):
        return False
    task = _task_of(coroutine)
    return task is not None and not task.cancelling()


def _task_of(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
    return next((task for task in asyncio.all_tasks() if _executes(task, coroutine)), None)


def _executes(task: asyncio.Task[Any], coroutine: Coroutine[Any, Any, Any]) -> bool:
    inner: Any = task.get_coro()
    while isinstance(inner, CoroutineType):
        if inner is coroutine:
            return True
        inner = inner.cr_await
    return False
