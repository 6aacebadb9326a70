"""Drivers: what executes the steps of LiveCheck's coroutines, in a plain thread or on an event loop.

The code of both faces is written once, as coroutines. Their steps are blocking calls, such as those of Redis, and
code of the user. In a plain thread, each step is executed at once, so that the coroutine is never suspended, and
`drive` returns its result. On an event loop, blocking calls are executed in other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from livecheck_celery.execution.event_loop import EventLoop, in_event_loop
from livecheck_celery.execution.results import settled
from livecheck_celery.execution.waiting import done_within
from livecheck_celery.utils.forks import renew_after_fork

#: Threads of one process for the blocking calls of coroutines.
_THREADS: Final = 16

P = ParamSpec("P")
R = TypeVar("R")

#: Gives an awaitable a deadline.
Bounded = Callable[[Any], Coroutine[Any, Any, Any]]


class Driver(Protocol):
    """Executes steps for the coroutine that awaits them."""

    async def blocking(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that can block."""

    async def result_of(self, awaitable: Any, bounded: Bounded, owner: str) -> Any:
        """Return the result of ``bounded(awaitable)``, a coroutine of user code."""

    async def complete(self, outcome: Any, owner: str, failed: Callable[[BaseException], object]) -> None:
        """Finish ``outcome`` of user code, which can be awaitable; call ``failed`` with what that raises."""

    async def wait_for(self, future: Future[Any], seconds: float) -> None:
        """Wait until ``future`` is done, for ``seconds`` at most."""


class ThreadDriver:
    """Executes each step at once, in the thread of the caller; awaitables of user code on the event loop."""

    def __init__(self, event_loop: EventLoop) -> None:
        self._event_loop = event_loop

    async def blocking(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function``."""
        return function(*args, **kwargs)

    async def result_of(self, awaitable: Any, bounded: Bounded, owner: str) -> Any:
        """As `EventLoop.finish`, which refuses a coroutine on the thread of the loop."""
        return self._event_loop.finish(awaitable if in_event_loop() else bounded(awaitable), owner)

    async def complete(self, outcome: Any, owner: str, failed: Callable[[BaseException], object]) -> None:
        """As `EventLoop.complete`."""
        self._event_loop.complete(outcome, owner, failed)

    async def wait_for(self, future: Future[Any], seconds: float) -> None:
        """Block this thread until ``future`` is done."""
        wait([future], seconds)


class LoopDriver:
    """Executes blocking calls in the threads of ``threads``, and awaits user code on the running loop."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def blocking(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in another thread, with a copy of the context."""
        return await self._threads.call(function, *args, **kwargs)

    async def result_of(self, awaitable: Any, bounded: Bounded, owner: str) -> Any:  # noqa: ARG002 - the task has its owner
        """Await ``bounded(awaitable)``."""
        return await bounded(awaitable)

    async def complete(self, outcome: Any, owner: str, failed: Callable[[BaseException], object]) -> None:  # noqa: ARG002 - the task has its owner
        """Await ``outcome``."""
        try:
            await settled(outcome)
        except BaseException as exc:  # noqa: BLE001 - the caller decides
            failed(exc)

    async def wait_for(self, future: Future[Any], seconds: float) -> None:
        """Await ``future``."""
        await done_within(future, seconds)


class Threads:
    """Threads for the blocking calls of coroutines, started when used."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's threads."""
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="livecheck-blocking")

    async def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in a thread, with a copy of the context, and return its result."""
        call = partial(copy_context().run, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

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
