"""Run coroutines for synchronous code, on one event loop thread.

No synchronous call waits for the loop on the loop's own thread: `EventLoop.finish` refuses it. User code can still
block the loop, for example by ``time.sleep()``; a second thread logs which code does, and after a while gives the other
coroutines a new loop.

On gevent all greenlets are in one thread of the system, in which asyncio runs one loop: the EventLoops of a process
share it, and it begins when a loop of the application has ended.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from livecheck_celery.execution.loop_watch import OWNER, LoopWatch
from livecheck_celery.execution.results import is_awaitable, outcome_of, result
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.native import threads_are_greenlets

#: Seconds between two attempts to begin, while another loop runs in this thread of the system.
_TURN: Final = 0.05

_this_thread = threading.local()


def in_running_loop() -> bool:
    """Return whether the caller runs on the thread of a running event loop, whoever runs it, and so must not block."""
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return False
    # On gevent, all greenlets of an operating system's thread find the loop that one of them runs.
    me = threading.get_ident()
    return bool(getattr(loop, "_thread_id", me) == me)


class _SharedLoop:
    """The loop of all greenlets, while one of its users needs it."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's loop."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users = 0

    def join(self, start: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
        """Return the loop, which ``start`` starts for the first user."""
        with self._lock:
            if self._loop is None:
                self._loop = start()
            self._users += 1
            return self._loop

    def is_used_after(self, leaver: asyncio.AbstractEventLoop) -> bool:
        """Count one user of the loop ``leaver`` less; return whether it has others."""
        with self._lock:
            if self._loop is not leaver:
                return False
            self._users -= 1
            if not self._users:
                self._loop = None
            return self._users > 0


_shared: Final = _SharedLoop()


class EventLoop:
    """An asyncio event loop in a daemon thread, started when first used."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's loop, whose thread does not exist in the child."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        _this_thread.loop = None

    def finish(self, outcome: Any, owner: str = "a coroutine") -> Any:
        """Return ``outcome``, or its result if it is awaitable; the coroutine sees a copy of the context.

        Args:
            outcome: the value, or the awaitable, that a function has returned.
            owner: what the coroutine belongs to, for log lines.

        Raises:
            RuntimeError: called on the thread of the loop, which would wait for itself.
        """
        if not is_awaitable(outcome):
            return outcome
        if getattr(_this_thread, "loop", None) is not None:
            if isinstance(outcome, Coroutine):
                outcome.close()
            raise RuntimeError(f"{owner}: would block the event loop that it waits for; call it by asyncio.to_thread()")
        return result(self.start(outcome_of(outcome), owner).result())

    def start(self, coroutine: Coroutine[Any, Any, Any], owner: str) -> Future[Any]:
        """Start ``coroutine`` with a copy of the context, and return the future of its result."""
        context = copy_context()
        context.run(OWNER.set, owner)
        return context.run(asyncio.run_coroutine_threadsafe, coroutine, self._running())

    def close(self) -> None:
        """Stop the loop when its last task is done, without waiting for that task."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and not _shared.is_used_after(loop):
            asyncio.run_coroutine_threadsafe(_stop_when_idle(), loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = _shared.join(self._start) if threads_are_greenlets() else self._start()
            return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(loop,), name="livecheck-async", daemon=True)
        watch = LoopWatch(loop, thread, partial(self._replace, loop))
        thread.start()
        threading.Thread(target=watch.run, name="livecheck-async-watch", daemon=True).start()
        return loop

    def _replace(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Give new coroutines another loop than ``loop``, which ends when it is free; return whether this was new.

        Not on gevent, where another loop cannot run beside it.
        """
        if threads_are_greenlets():
            return False
        with self._lock:
            if self._loop is not loop:
                return False
            self._loop = None
        asyncio.run_coroutine_threadsafe(_stop_when_idle(), loop)
        return True


def _run(loop: asyncio.AbstractEventLoop) -> None:
    _this_thread.loop, _this_thread.stopping = loop, False
    try:
        while not _this_thread.stopping:
            # A task of user code ends run_forever() by raising SystemExit, which its owner gets, too, or by stop().
            with suppress(BaseException):
                loop.run_forever()
            if _another_runs():
                time.sleep(_TURN)
    finally:
        loop.close()


def _another_runs() -> bool:
    """Return whether this thread of the system runs a loop, between two runs of our own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _stop_when_idle() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    # After this task's own result has been delivered.
    _this_thread.stopping = True
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
