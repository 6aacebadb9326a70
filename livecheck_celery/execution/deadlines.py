"""Sees that no test runs for longer than it may, even one whose thread cannot be stopped."""

from __future__ import annotations

import inspect
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.execution.runner import TestRunner

logger = get_logger(__name__)

#: Seconds between two looks.
TICK: Final = 0.5
#: Seconds a test has after its deadline to come to its verdict by itself, which says more.
GRACE: Final = 1.0
#: Seconds after which it is said again that a test holds a slot.
REMIND: Final = 60.0


class Slots:
    """The runners at work in this process, each in a slot of the worker."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Hold nothing: the parent's tests run in the parent."""
        self._lock = threading.Lock()
        self._next_word: dict[TestRunner, float] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def take(self, runner: TestRunner) -> None:
        """``runner`` runs in a slot now, until its ``deadline`` at most."""
        with self._lock:
            self._next_word[runner] = runner.deadline + GRACE
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="livecheck-slots", daemon=True)
                self._thread.start()

    def free(self, runner: TestRunner) -> None:
        """``runner`` has ended."""
        with self._lock:
            self._next_word.pop(runner, None)
        if runner.overran:
            logger.warning("%s: run() has ended at last, and its slot is free again", runner.test.ident)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(TICK):
            now = time.monotonic()
            with self._lock:
                late = [runner for runner, at in self._next_word.items() if at <= now]
                self._next_word.update(dict.fromkeys(late, now + REMIND))
            for runner in late:
                # In a thread of its own, as a verdict calls hooks, which may take their time.
                threading.Thread(target=self._see_to, args=(runner,), name="livecheck-overrun", daemon=True).start()

    def _see_to(self, runner: TestRunner) -> None:
        if not runner.overran:
            try:
                runner.overrun()
            except LiveCheckError as exc:
                logger.warning("%s: %s", runner.test.ident, exc)
        if runner.overran and runner in self._next_word:
            logger.error(
                "%s holds a slot of this worker though it has its verdict: its run() cannot be stopped%s",
                runner.test.ident,
                _whereabouts(runner),
            )


def _whereabouts(runner: TestRunner) -> str:
    """The line of ``run()`` that is executed, where that can be known."""
    frames = sys._current_frames()  # noqa: SLF001 - the documented way, its name notwithstanding
    # A coroutine is executed by the thread of the event loop, which is at one of them at a time.
    threads = frames.values() if runner.is_async else filter(None, [frames.get(runner.thread_id)])
    code = getattr(inspect.unwrap(runner.case.run), "__code__", None)
    for thread in threads:
        for frame, line in traceback.walk_stack(thread):
            if frame.f_code is code:
                return f", it is at {code.co_filename}:{line}"
    return ""
