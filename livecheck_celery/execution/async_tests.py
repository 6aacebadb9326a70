"""The tests that run on the event loop of this process, and hold no slot of its pool; they share its places."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar

from livecheck_celery.execution.drivers import Threads
from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.execution.fair_share import FairShare, Party
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
    """The running coroutines, each of one test; at most ``limit``.

    ``expected`` returns the parties that will have tests, such as those of fake requests.
    """

    def __init__(
        self,
        event_loop: EventLoop,
        threads: Threads,
        interruption: Interruption,
        limit: int,
        expected: Callable[[], Iterable[Party]],
    ) -> None:
        self._event_loop = event_loop
        self._threads = threads
        self._interruption = interruption
        self._limit = limit
        self._expected = expected
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's tests."""
        self._changed = threading.Condition()
        self._share: FairShare | None = None
        self._places = 0
        self._tasks: dict[asyncio.Task[Any], asyncio.AbstractEventLoop] = {}

    def start(
        self, party: Party, execute: Callable[[], Coroutine[Any, Any, R]], owner: str, done: Callable[[R], object]
    ) -> None:
        """Run ``execute()`` on the event loop; return when it has a place there, and is about to begin.

        Args:
            party: the tests with which it counts; a tenth of the places is left to those with fewer.
            execute: makes the coroutine.
            owner: the test, for log lines.
            done: called with the result, in a thread of its own; not called if the coroutine raises.
        """
        with self._changed:
            while not self._take_place(party):
                self._changed.wait(_TICK)
        self._begin(party, execute, owner, done)

    def try_start(
        self, party: Party, execute: Callable[[], Coroutine[Any, Any, R]], owner: str, done: Callable[[R], object]
    ) -> bool:
        """As `start`, if there is a place; return whether there is one."""
        with self._changed:
            if not self._take_place(party):
                return False
        self._begin(party, execute, owner, done)
        return True

    def _take_place(self, party: Party) -> bool:
        share = self._sharing()
        share.expect(party)
        if share.choose([party], self._limit) is None and not self._interruption.is_due:
            return False
        share.start(party)
        self._places += 1
        return True

    def _begin(
        self, party: Party, execute: Callable[[], Coroutine[Any, Any, R]], owner: str, done: Callable[[R], object]
    ) -> None:
        try:
            running = self._event_loop.start(self._run(execute, owner, done), owner)
        except BaseException:
            self._leave(party)
            raise
        # Not in the coroutine, which never begins if it is cancelled before.
        running.add_done_callback(lambda _: self._leave(party))

    def has_place(self, party: Party, *, coming: int) -> bool:
        """Return whether a test of ``party`` has a place on the event loop, beside ``coming`` others that begin now."""
        if self._threads.is_behind:
            return False  # a test that could not be claimed soon waits as a message does
        with self._changed:
            return self._sharing().choose([party], self._limit - coming) is not None

    def on_room(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` in a thread when `has_place` can have another answer than before."""
        self._threads.on_room = callback

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

    def _sharing(self) -> FairShare:
        if self._share is None:
            self._share = FairShare()
            for party in self._expected():
                self._share.expect(party)
        return self._share

    def _leave(self, party: Party) -> None:
        with self._changed:
            self._sharing().end(party)
            self._places -= 1
            self._changed.notify_all()
