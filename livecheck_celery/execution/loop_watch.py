"""Watch an event loop: log what blocks it, and give other coroutines a new loop when that takes long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

from livecheck_celery.execution.places import current_place
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds of one step of a coroutine after which it is logged.
BLOCKED_AFTER: Final = 1.0
#: Seconds after which new coroutines get another loop.
REPLACED_AFTER: Final = 10.0
#: Seconds between two checks of the loop; a step can begin up to this long before the first check that sees it.
_EVERY: Final = 0.1

#: What the running code belongs to, such as ``shop.test_order:42``.
OWNER: ContextVar[str] = ContextVar("livecheck_owner", default="a coroutine")


class LoopWatch:
    """The watch of a loop that has not run yet.

    Args:
        loop: the loop.
        thread: the thread that will run it.
        replace: gives new coroutines another loop; returns whether it did.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, replace: Callable[[], bool]) -> None:
        self._loop = loop
        self._thread = thread
        self._replace = replace
        #: Before Python 3.12, the context of a task cannot be read.
        self._owners: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        loop.set_task_factory(self._make)

    def run(self) -> None:
        """Watch the loop until its thread ends."""
        while self._thread.is_alive():
            answered = threading.Event()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed
                return
            self._wait(answered)
            self._thread.join(_EVERY)

    def _wait(self, answered: threading.Event) -> None:
        """Wait until the loop has ``answered``; meanwhile it is blocked, or busy with many coroutines."""
        asked = began = time.monotonic()
        task, blocking, replaced = self._running(), "", False
        while not answered.wait(_EVERY) and self._thread.is_alive():
            now, running = time.monotonic(), self._running()
            if not blocking and running is not task:  # the loop is busy
                task, began = running, now
            elif not blocking and now - began >= BLOCKED_AFTER - 2 * _EVERY:
                blocking = self._log(task)
            if not replaced and now - asked >= REPLACED_AFTER and (replaced := self._replace()):
                what = blocking or "many coroutines"
                logger.error("event loop: still blocked by %s; new async tests get another loop", what)
        if blocking:
            took, key = time.monotonic() - began, f"event loop: free: {blocking}"
            throttled.warning("event loop: free after %.1f s; it was blocked by %s", took, blocking, key=key)

    def _running(self) -> asyncio.Task[Any] | None:
        return asyncio.current_task(self._loop)

    def _log(self, task: Any) -> str:
        """Log which code blocks the loop, once a minute for each place, and return its owner and place."""
        owner = "a callback" if task is None else self._owners.get(task, "a coroutine")
        place = current_place(self._thread.ident)
        blocking = f"{owner}{place}"
        throttled.error("event loop: blocked by %s; other async tests wait", blocking, key=f"event loop: {place}")
        return blocking

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        self._owners[task] = OWNER.get()
        return task
