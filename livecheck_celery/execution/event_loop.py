"""Run coroutines for synchronous code, on one event loop thread.

No synchronous call waits for the loop on the loop's own thread: `EventLoop.finish` refuses it. User code can still
block the loop, for example by ``time.sleep()``; a second thread logs which code does, and after a while gives the other
coroutines a new loop.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, Final
from weakref import WeakKeyDictionary

from livecheck_celery.execution.places import current_place
from livecheck_celery.execution.results import is_awaitable, outcome_of, result
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: Seconds after which a loop that runs nothing else is logged as blocked.
BLOCKED_AFTER: Final = 2.0
#: Seconds after which new coroutines get another loop.
REPLACED_AFTER: Final = 10.0
#: Seconds between two checks of the loop.
_CHECK_EVERY: Final = 1.0

_this_thread = threading.local()
#: What the running code belongs to, such as ``shop.test_order:42``.
_owner: ContextVar[str] = ContextVar("livecheck_owner", default="a coroutine")


def in_running_loop() -> bool:
    """Return whether the caller runs on the thread of a running event loop, whoever runs it, and so must not block."""
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return False
    # On gevent, all greenlets of an operating system's thread find the loop that one of them runs.
    me = threading.get_ident()
    return bool(getattr(loop, "_thread_id", me) == me)


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

    def finish(self, outcome: Any, owner: str = "a coroutine", *, timeout: float | None = None) -> Any:
        """Return ``outcome``, or its result if it is awaitable; the coroutine sees a copy of the context.

        Args:
            outcome: the value, or the awaitable, that a function has returned.
            owner: what the coroutine belongs to, for log lines.
            timeout: seconds to wait for the result; by default, any time.

        Raises:
            RuntimeError: called on the thread of the loop, which would wait for itself.
            TimeoutError: there was no result within ``timeout``; the coroutine is cancelled.
        """
        if not is_awaitable(outcome):
            return outcome
        if getattr(_this_thread, "loop", None) is not None:
            if isinstance(outcome, Coroutine):
                outcome.close()
            raise RuntimeError(f"{owner}: would block the event loop that it waits for; call it by asyncio.to_thread()")
        future = self.start(outcome_of(outcome), owner)
        try:
            returned = future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise
        return result(returned)

    def start(self, coroutine: Coroutine[Any, Any, Any], owner: str) -> Future[Any]:
        """Start ``coroutine`` with a copy of the context, and return the future of its result."""
        context = copy_context()
        context.run(_owner.set, owner)
        return context.run(asyncio.run_coroutine_threadsafe, coroutine, self._running())

    def close(self) -> None:
        """Stop the loop when its last task is done, without waiting for that task."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_stop_when_idle(), loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                owners = _remember_owners(loop)
                thread = threading.Thread(target=_run, args=(loop,), name="livecheck-async", daemon=True)
                thread.start()
                watch = (loop, thread, owners)
                threading.Thread(target=self._watch, args=watch, name="livecheck-async-watch", daemon=True).start()
            return self._loop

    def _watch(
        self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, owners: WeakKeyDictionary[Any, str]
    ) -> None:
        """Log it when code on ``thread`` blocks the loop; ends with the thread."""
        while thread.is_alive():
            asked, answered = time.monotonic(), threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed
                return
            if not _wait(answered, thread, asked + BLOCKED_AFTER):
                blocking = _blocking(loop, thread, owners)
                logger.error("event loop: blocked by %s; other async tests wait", blocking)
                if not _wait(answered, thread, asked + REPLACED_AFTER) and self._replace(loop):
                    logger.error("event loop: still blocked by %s; new async tests get another loop", blocking)
                _wait(answered, thread, math.inf)
                logger.warning(
                    "event loop: free after %.1f s; it was blocked by %s", time.monotonic() - asked, blocking
                )
            thread.join(_CHECK_EVERY)

    def _replace(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Give new coroutines another loop than ``loop``, which ends when it is free; return whether this was new."""
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
    finally:
        loop.close()


def _wait(answered: threading.Event, thread: threading.Thread, deadline: float) -> bool:
    """Wait until the loop has answered, or its thread has ended; return False at the monotonic time ``deadline``."""
    while thread.is_alive():
        left = deadline - time.monotonic()
        if answered.wait(max(0.0, min(_CHECK_EVERY, left))):
            return True
        if left <= 0:
            return False
    return True


def _remember_owners(loop: asyncio.AbstractEventLoop) -> WeakKeyDictionary[Any, str]:
    """Record the owner of each task of ``loop``: before Python 3.12, the context of a task cannot be read."""
    owners: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        owners[task] = _owner.get()
        return task

    loop.set_task_factory(make)
    return owners


def _blocking(loop: asyncio.AbstractEventLoop, thread: threading.Thread, owners: WeakKeyDictionary[Any, str]) -> str:
    """Describe the code that runs on ``thread``: what it belongs to, and its place."""
    task = asyncio.current_task(loop)
    owner = owners.get(task, "a coroutine") if task is not None else "a callback"
    return f"{owner}{current_place(thread.ident)}"


async def _stop_when_idle() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    # After this task's own result has been delivered.
    _this_thread.stopping = True
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
