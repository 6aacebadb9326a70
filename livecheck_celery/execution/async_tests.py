"""The tests that run on the event loop of this process, and hold no slot of its pool."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from livecheck_celery.execution.drivers import Threads
from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.interruption import Interruption
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

R = TypeVar("R")

#: Seconds between two checks while waiting.
_TICK: Final = 0.1
#: Seconds for tests to be handed back, once they are cancelled.
_HAND_BACK: Final = 2.0


class AsyncTests:
    """The running coroutines, each of one test; at most ``limit``."""

    def __init__(self, event_loop: EventLoop, threads: Threads, interruption: Interruption, limit: int) -> None:
        self._event_loop = event_loop
        self._threads = threads
        self._interruption = interruption
        self._limit = limit
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's tests."""
        self._changed = threading.Condition()
        self._places = 0
        self._tasks: dict[asyncio.Task[Any], asyncio.AbstractEventLoop] = {}

    def start(self, execute: Callable[[], Coroutine[Any, Any, R]], owner: str, done: Callable[[R], object]) -> None:
        """Run ``execute()`` on the event loop; return when it has a place there, and is about to begin.

        Args:
            execute: makes the coroutine.
            owner: the test, for log lines.
            done: called with the result, in a thread of its own; not called if the coroutine raises.
        """
        with self._changed:
            while self._places >= self._limit and not self._interruption.is_due:
                self._changed.wait(_TICK)
            self._places += 1
        try:
            self._event_loop.start(self._run(execute, owner, done), owner)
        except BaseException:
            self._leave()
            raise

    def finish(self) -> None:
        """Wait for all tests until the process must stop waiting; then cancel them, so that they are handed back."""
        while self._places and not self._interruption.is_due:
            self._wait(_TICK)
        with self._changed:
            tasks = list(self._tasks.items())
        for task, loop in tasks:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)
        end = time.monotonic() + _HAND_BACK
        while self._places and time.monotonic() < end:
            self._wait(_TICK)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)

    async def _run(
        self, execute: Callable[[], Coroutine[Any, Any, R]], owner: str, done: Callable[[R], object]
    ) -> None:
        task: Any = asyncio.current_task()
        with self._changed:
            self._tasks[task] = asyncio.get_running_loop()
        try:
            result = await execute()
            await self._threads.call(done, result)
        except Exception:
            logger.exception("async tests: %s failed; recovery takes over the test", owner)
        finally:
            with self._changed:
                del self._tasks[task]
            self._leave()

    def _leave(self) -> None:
        with self._changed:
            self._places -= 1
            self._changed.notify_all()
