"""Drivers: what executes the steps of LiveCheck's coroutines, in a plain thread or on an event loop.

The code of both faces is written once, as coroutines. Their steps are blocking calls, such as those of Redis, and
code of the user. In a plain thread, each step is executed at once, so that the coroutine is never suspended, and
`drive` returns its result. On an event loop, blocking calls are executed in other threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.execution.results import is_awaitable, outcome_of, refuse_awaitable, result
from livecheck_celery.execution.waiting import done_within
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: Threads of one process for the blocking calls of coroutines.
_THREADS: Final = 16
#: Calls that can wait for them, and run: so many that a thread that has ended one finds another.
_MANY: Final = 4 * _THREADS

P = ParamSpec("P")
R = TypeVar("R")


class Driver(Protocol):
    """Executes steps for the coroutine that awaits them."""

    async def blocking(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that can block."""

    async def recording(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that records the end of a test, after which a cancellation is too late and has no effect."""

    async def result_of(self, name: str, returned: Any) -> Any:
        """Return what the method ``name`` of a case has returned; in the asyncio face, the result of awaiting it."""

    async def wait_for(self, future: Future[Any], seconds: float) -> None:
        """Wait until ``future`` is done, for ``seconds`` at most."""

    def in_one_context(self) -> Driver:
        """Return a driver that runs all user code in one context, a copy of the current one, as a thread does."""


class ThreadDriver:
    """Executes each step at once, in the thread of the caller; for code of the sync face."""

    async def blocking(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function``."""
        return function(*args, **kwargs)

    recording = blocking

    async def result_of(self, name: str, returned: Any) -> Any:
        """Return ``returned``.

        Raises:
            TypeError: it is awaitable.
        """
        refuse_awaitable(name, returned)
        return returned

    async def wait_for(self, future: Future[Any], seconds: float) -> None:
        """Block this thread until ``future`` is done."""
        wait([future], seconds)

    def in_one_context(self) -> Driver:
        """Return this driver: the context is that of the thread."""
        return self


class BridgeDriver(ThreadDriver):
    """Executes each step in a plain thread, and awaits user code of the asyncio face on the event loop."""

    def __init__(self, event_loop: EventLoop) -> None:
        self._event_loop = event_loop

    async def result_of(self, name: str, returned: Any) -> Any:
        """As `EventLoop.finish`, which refuses to wait on the thread of the loop."""
        return self._event_loop.finish(returned, name)


class LoopDriver:
    """Executes blocking calls in the threads of ``threads``, and awaits user code on the running loop."""

    def __init__(self, threads: Threads, context: Context | None = None) -> None:
        self._threads = threads
        self._context = context

    async def blocking(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in another thread, with a copy of the context."""
        return await self._threads.call(function, *args, **kwargs)

    async def recording(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `blocking`; a task that is cancelled meanwhile goes on."""
        calling = asyncio.ensure_future(self._threads.call(function, *args, **kwargs))
        while not calling.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([calling])
        return calling.result()

    async def result_of(self, name: str, returned: Any) -> Any:  # noqa: ARG002 - the task has its owner
        """Await ``returned``, in a task of its own."""
        if not is_awaitable(returned):
            return returned
        return result(await asyncio.create_task(outcome_of(returned), context=self._context))

    async def wait_for(self, future: Future[Any], seconds: float) -> None:
        """Await ``future``."""
        await done_within(future, seconds)

    def in_one_context(self) -> Driver:
        """Return a driver of the same threads whose tasks share a copy of the current context."""
        return LoopDriver(self._threads, copy_context())


class Threads:
    """Threads for the blocking calls of coroutines, started when used.

    Attributes:
        on_room: called in a thread when a call has ended, and a further one would not have to wait for long.
    """

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's threads."""
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="livecheck-blocking")
        self._lock = threading.Lock()
        self._calls = 0
        self.on_room: Callable[[], object] = lambda: None

    @property
    def is_behind(self) -> bool:
        """Whether calls wait for a thread, so that more of them would only wait longer."""
        return self._calls >= _MANY

    async def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in a thread, with a copy of the context, and return its result.

        A task that is cancelled meanwhile ends when the call has returned, so that it can take back what the call did.
        """
        with self._lock:
            self._calls += 1
        call = partial(copy_context().run, partial(function, *args, **kwargs))
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._run, call)
        try:
            return await asyncio.shield(running)
        finally:
            if not running.done():
                await asyncio.wait([running])

    def _run(self, call: Callable[[], R]) -> R:
        try:
            return call()
        finally:
            with self._lock:
                self._calls -= 1
            if not self.is_behind:
                self._notify()

    def _notify(self) -> None:
        try:
            self.on_room()
        except Exception:  # it is not that of the call
            logger.exception("event loop: failed to begin tests that wait")

    def close(self) -> None:
        """End the threads when their calls have returned."""
        self._executor.shutdown(wait=False)


def drive(coroutine: Coroutine[Any, Any, R]) -> R:
    """Return the result of a coroutine whose steps a `ThreadDriver` executes."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: R = done.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits for an event loop")
