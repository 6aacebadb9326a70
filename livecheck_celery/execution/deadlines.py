"""Deadlines of running tests, enforced even if a thread cannot be stopped; and log lines about hooks that take long."""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.execution.places import Place, awaiting_place, current_place, place_inside
from livecheck_celery.execution.running import RunningTest
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds between two checks.
TICK: Final = 0.5
#: Seconds after its deadline in which a test can still record its own verdict, whose error says more.
GRACE: Final = 1.0
#: Seconds between two log lines about the same held slot.
REMIND: Final = 60.0
#: Seconds after which a hook is logged.
SLOW: Final = 30.0
#: Maximum number of threads that record verdicts of late tests; the others wait for a later check.
_MAX_THREADS: Final = 16


@dataclass(eq=False)
class Watched:
    """A block of user code that is watched.

    Attributes:
        what: names it in log lines.
        thread_id: the thread that runs the block.
        started: monotonic time.
        awaitable: what the thread waits for, if the event loop runs the code.
    """

    what: str
    thread_id: int
    started: float
    awaitable: Any = None


class Deadlines:
    """The deadlines of the tests running in this process."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's tests."""
        self._lock = threading.Lock()
        self._due: dict[RunningTest, float] = {}
        self._blocks: dict[Watched, float] = {}
        self._threads = threading.Semaphore(_MAX_THREADS)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, test: RunningTest) -> None:
        """Enforce the ``deadline`` of ``test`` until it is removed."""
        with self._lock:
            self._due[test] = test.deadline + GRACE
            self._start_thread()

    def remove(self, test: RunningTest) -> None:
        """Stop enforcing the deadline of ``test``, which has ended."""
        with self._lock:
            self._due.pop(test, None)
        if test.overran:
            throttled.warning("deadlines: %s: run() has returned; its slot is free again", test.test.ident)

    @contextmanager
    def watched(self, what: str) -> Iterator[Watched]:
        """Log ``what``, with the line of code, when the block has taken half a minute, and every minute after that."""
        block = Watched(what, threading.get_ident(), time.monotonic())
        with self._lock:
            self._blocks[block] = block.started + SLOW
            with suppress(RuntimeError):  # no thread can be started; the block matters more
                self._start_thread()
        try:
            yield block
        finally:
            with self._lock:
                self._blocks.pop(block, None)

    def close(self) -> None:
        """Stop enforcing deadlines."""
        self._closed.set()

    def reopen(self) -> None:
        """Enforce deadlines again after `close`."""
        if self._closed.is_set():
            self._closed, self._thread = threading.Event(), None

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="livecheck-deadlines", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(TICK):
            now = time.monotonic()
            with self._lock:
                late = [test for test, at in self._due.items() if at <= now]
                slow = [block for block, at in self._blocks.items() if at <= now]
                self._blocks.update(dict.fromkeys(slow, now + REMIND))
            for block in slow:
                place = awaiting_place(block.awaitable) or current_place(block.thread_id)
                logger.warning("deadlines: %s has taken %.0f s%s", block.what, now - block.started, place)
            for test in late:
                if not self._threads.acquire(blocking=False):
                    break
                with self._lock:
                    if test in self._due:
                        self._due[test] = now + REMIND
                # In a separate thread, since a verdict calls hooks, which can take long.
                threading.Thread(target=self._enforce, args=(test,), name="livecheck-overrun", daemon=True).start()

    def _enforce(self, test: RunningTest) -> None:
        try:
            self._end(test)
        finally:
            self._threads.release()

    def _end(self, test: RunningTest) -> None:
        if not test.overran:
            try:
                test.overrun()
            except LiveCheckError as exc:
                throttled.warning("deadlines: %s: %s", test.test.ident, exc)
        if test.overran and test in self._due:
            place = place_in_run(test)
            logger.error(
                "deadlines: %s has its verdict but still holds a slot: its run() cannot be stopped%s",
                *(test.test.ident, f"; it is at {place.code.co_filename}:{place.line}" if place else ""),
            )


def place_in_run(test: RunningTest) -> Place | None:
    """Return the line of user code that the ``run()`` of ``test`` is executing; None if unknown."""
    frame = sys._current_frames().get(test.thread_id)  # noqa: SLF001 - documented API despite its name
    code = getattr(inspect.unwrap(test.case.run), "__code__", None)
    return None if frame is None else place_inside(code, frame)
