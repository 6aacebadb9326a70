"""Functions that are part of a test wherever they are called: in threads, processes, executors and callbacks."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from functools import partial, update_wrapper
from typing import Any

from livecheck_celery.blocks import Mark, ReentrantBlock, mark_in_force, tests_in_force

try:
    from asyncio.coroutines import _is_coroutine  # type: ignore[attr-defined] # Python 3.11, and frameworks that use it
except ImportError:  # pragma: no cover - later versions
    _is_coroutine = None


def bind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function``, as part of what the running code is part of: its tests, and its fake request.

    It is that wherever it is called: in a thread, a process pool, a callback. It can be a coroutine function or a
    generator function, and can be pickled if ``function`` can. Outside a test and a fake request, it is ``function``
    itself.
    """
    tests, mark = tests_in_force(), mark_in_force()
    return bind_as(function, tests, mark) if tests or mark is not None else function


def bind_as(function: Callable[..., Any], tests: Sequence[Any], mark: Mark | None) -> Bound:
    """Return ``function``, as part of ``tests`` wherever it is called, and of nothing else."""
    return (_BoundCoroutineFunction if _is_coroutine_function(function) else Bound)(function, tests, mark)


def bind_to(test: Any, function: Callable[..., Any]) -> Bound:
    """Return ``function``, as part of ``test``, and of the tests around it if ``test`` is in force here."""
    tests = tests_in_force()
    others = [other for other in tests if other != test] if test in tests else []
    return bind_as(function, [test, *others], mark_in_force())


class Bound:
    """A function that is part of tests; it can be pickled if the function can.

    Generators and coroutines that the function returns are part of the tests, too, wherever they run.
    """

    def __init__(self, function: Callable[..., Any], tests: Sequence[Any], mark: Mark | None) -> None:
        update_wrapper(self, function)  # first, since it copies the attributes of the function
        self._function = function
        self._tests = tuple(tests)
        self._mark = mark

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as part of the tests."""
        with self._block():
            result = self._function(*args, **kwargs)
        if inspect.iscoroutine(result):
            return self._await(result)
        if inspect.isgenerator(result):
            return _BoundGenerator(self._block(), result)
        if inspect.isasyncgen(result):
            return _BoundAsyncGenerator(self._block(), result)
        return result

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else partial(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        return bind_as, (self._function, self._tests, self._mark)

    def _block(self) -> ReentrantBlock:
        return ReentrantBlock(self._tests, self._mark)

    async def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._block():
            return await coroutine


class _BoundCoroutineFunction(Bound):
    """A coroutine function; frameworks recognize it as one."""

    _is_coroutine = _is_coroutine

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if hasattr(inspect, "markcoroutinefunction"):  # since Python 3.12
            inspect.markcoroutinefunction(self)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._block():
            return await self._function(*args, **kwargs)


class _BoundGenerator(Generator[Any, Any, Any]):
    """A generator, each step of which is part of the tests."""

    def __init__(self, block: ReentrantBlock, generator: Generator[Any, Any, Any]) -> None:
        self._block = block
        self._generator = generator

    def send(self, value: Any) -> Any:
        with self._block:
            return self._generator.send(value)

    def throw(self, *error: Any) -> Any:
        with self._block:
            return self._generator.throw(*error)


class _BoundAsyncGenerator(AsyncGenerator[Any, Any]):
    """An asynchronous generator, each step of which is part of the tests."""

    def __init__(self, block: ReentrantBlock, generator: AsyncGenerator[Any, Any]) -> None:
        self._block = block
        self._generator = generator

    async def asend(self, value: Any) -> Any:
        with self._block:
            return await self._generator.asend(value)

    async def athrow(self, *error: Any) -> Any:
        with self._block:
            return await self._generator.athrow(*error)


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004 - not whether it is callable: an object with async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
