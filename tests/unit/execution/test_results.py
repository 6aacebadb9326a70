"""Results of ``run()``: code that nothing has executed, and values, which decide no verdict."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from typing import Any
from unittest.mock import MagicMock

import pytest
from werkzeug.local import LocalProxy

from livecheck_celery.execution.results import is_awaitable, outcome_of, refuse_awaitable, result, unexecuted


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


async def async_generator() -> Any:
    yield 1


@types.coroutine
def generator_based() -> Generator[None, None, str]:
    yield
    return "done"


class HostileMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise ZeroDivisionError(name)


class OfHostileMeta(metaclass=HostileMeta): ...


class Evaluated:
    """A lazy object, which is evaluated by asking for its class."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError

    @staticmethod
    def with_metaclass() -> Any:
        return object.__new__(OfHostileMeta)


class CoroutineProxy:
    """A proxy as tools that measure coroutines use it."""

    __class__ = types.CoroutineType  # type: ignore[assignment] # as the class of the coroutine

    def __await__(self) -> Any:
        yield from ()
        return "done"

    def send(self, value: Any) -> Any: ...


class HostileList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise ZeroDivisionError

    __len__ = __bool__ = __iter__


def circular() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (generator, "a generator"),
        (async_generator, "a generator"),
        (coroutine, "an awaitable"),
        (Future, "a future"),
        (lambda: map(str, [1]), "an iterator (map)"),
        (lambda: [1, generator()], "a generator in a list"),
        (lambda: ([coroutine()],), "an awaitable in a list in a tuple"),
        (lambda: None, None),
        (lambda: True, None),
        (lambda: "text", None),
        (lambda: {"a": 1}, None),
        (lambda: [1, (2,)], None),
        (Evaluated, None),
        (Evaluated.with_metaclass, None),
        (MagicMock, None),
        (lambda: LocalProxy(lambda: 1 / 0), None),
        (CoroutineProxy, "an awaitable"),
        (circular, None),
        (lambda: functools.reduce(lambda inner, _: [inner], range(100_000), []), None),
        (lambda: [None] * 5_000_000, None),
        (lambda: HostileList([1]), None),
    ],
)
def test_result_that_nothing_has_executed_is_recognized(make: Any, kind: str | None) -> None:
    result = make()
    assert unexecuted(result) == kind
    for each in (result, *(result[0] if type(result) is tuple else ())):
        if type(each) is types.CoroutineType:
            each.close()


@pytest.mark.parametrize("make", [generator_based, CoroutineProxy])
def test_awaitables_of_every_kind_are_awaited(make: Any) -> None:
    async def nested() -> Any:
        return make()

    assert is_awaitable(make())
    assert result(asyncio.run(outcome_of(nested()))) == "done"


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), GeneratorExit(), asyncio.CancelledError()])
def test_outcome_is_the_exception_of_a_coroutine(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    outcome = asyncio.run(outcome_of(fail()))
    with pytest.raises(type(error)) as caught:
        result(outcome)
    assert caught.value is error


@pytest.mark.parametrize("returned", [None, 7, "text", LocalProxy(lambda: 7)])
def test_what_is_not_awaitable_is_not_refused(returned: Any) -> None:
    refuse_awaitable("run()", returned)


@pytest.mark.parametrize("make", [coroutine, asyncio.Future])
def test_awaitable_of_the_sync_face_is_refused_and_closed(make: Any) -> None:
    loop = asyncio.new_event_loop()
    returned = make() if make is coroutine else make(loop=loop)
    with pytest.raises(TypeError, match=r"^run\(\) returned an awaitable, which nothing executes"):
        refuse_awaitable("run()", returned)
    loop.close()
