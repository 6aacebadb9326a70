"""`bind(function)` and `test.bind(function)`: it is part of the test in threads, processes, tasks and callbacks."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from livecheck_celery import bind
from livecheck_celery.context import current_test, current_tests, fake_request, under_test
from tests.helpers.bindable import seen_in_process
from tests.helpers.factories import make_test
from tests.helpers.marks import synthetic_case

# Since Python 3.12, a fork in a process with threads warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

TEST = make_test("o-1")
OTHER = make_test("o-2", "shop.test_stock")


def seen(*_: Any) -> list[Any]:
    return [*current_tests(), synthetic_case()]


@pytest.mark.promise(
    "`test.bind(function)` carries a test into threads, executors, process pools and callbacks.", theme="propagation"
)
def test_bound_function_is_part_of_the_test_in_a_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        with under_test(TEST):
            assert pool.submit(seen).result() == [None], "a thread has its own context"
            assert pool.submit(TEST.bind(seen)).result() == [TEST, None]
        assert pool.submit(seen).result() == [None]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_bound_function_is_part_of_the_test_in_a_process_pool(method: str) -> None:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))
    with pool:
        pid, tests, mark = pool.submit(seen_in_process).result()
        assert (pid == os.getpid(), tests, mark) == (False, [], None)
        with fake_request("shop.test_order"), under_test(TEST):
            bound = TEST.bind(seen_in_process)
        assert pool.submit(bound, 1).result()[1:] == (["o-1"], "shop.test_order")
        assert pool.submit(seen_in_process).result()[1:] == ([], None)


@pytest.mark.promise(
    "`bind(function)` carries the mark of a fake request, whether it is tested or not.", theme="propagation"
)
def test_function_bound_in_a_fake_request_is_synthetic_in_a_thread_and_a_process() -> None:
    process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with ThreadPoolExecutor(1) as thread, process:
        with fake_request("shop.test_order"):
            assert thread.submit(bind(seen)).result() == ["shop.test_order"]
            assert process.submit(bind(seen_in_process)).result()[1:] == ([], "shop.test_order")
            with under_test(OTHER), under_test(TEST):
                assert thread.submit(bind(seen)).result() == [TEST, OTHER, "shop.test_order"]
        assert bind(seen) is seen


def test_bound_function_is_part_of_nothing_else() -> None:
    bound = TEST.bind(seen)
    with under_test(OTHER), fake_request("shop.test_stock"):
        assert bound() == [TEST, None]
        assert seen() == [OTHER, "shop.test_stock"]


def test_function_bound_in_the_block_is_part_of_the_tests_around_it() -> None:
    with under_test(OTHER), under_test(TEST):
        inner, outer = TEST.bind(seen), OTHER.bind(seen)
    assert (inner(), outer()) == ([TEST, OTHER, None], [OTHER, TEST, None])


def test_bound_function_has_its_arguments_its_result_and_its_name() -> None:
    def add(first: int, *, second: int) -> int:
        """Add two numbers."""
        return first + second

    bound: Any = TEST.bind(add)
    assert bound(1, second=2) == 3
    assert (bound.__name__, bound.__doc__) == ("add", "Add two numbers.")
    assert inspect.signature(bound) == inspect.signature(add)


def test_error_of_a_bound_function_propagates() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        TEST.bind(fail)()
    assert current_test() is None


async def coroutine(*_: Any) -> list[Any]:
    before = seen()
    await asyncio.sleep(0)
    return [*before, *await asyncio.create_task(other_task())]


async def other_task() -> list[Any]:
    return seen()


class Callback:
    def __call__(self) -> list[Any]:
        return seen()


class AsyncCallback:
    async def __call__(self) -> list[Any]:
        return await coroutine()


@pytest.mark.parametrize(
    "function",
    [coroutine, partial(coroutine, 1), lambda: coroutine(), AsyncCallback()],  # noqa: PLW0108
)
def test_bound_coroutine_function_is_part_of_the_test_where_it_is_awaited(function: Callable[..., Any]) -> None:
    async def run() -> None:
        with under_test(OTHER):
            task = asyncio.create_task(TEST.bind(function)())
            assert seen() == [OTHER, None]
        assert await task == [TEST, None] * 2
        assert await TEST.bind(function)() == [TEST, None] * 2
        assert seen() == [None]

    asyncio.run(run())


@pytest.mark.parametrize("function", [coroutine, partial(coroutine, 1), AsyncCallback()])
def test_bound_coroutine_function_is_recognized_as_one(function: Callable[..., Any]) -> None:
    from starlette._utils import is_async_callable

    assert is_async_callable(TEST.bind(function))
    assert is_async_callable(pickle.loads(pickle.dumps(TEST.bind(coroutine))))
    assert not is_async_callable(TEST.bind(Callback()))
    if function is coroutine:
        assert asyncio.iscoroutinefunction(TEST.bind(function))


def generator() -> Generator[Any, Any, str]:
    try:
        received = yield seen()
        yield received, seen()
    except KeyError:
        yield seen()
    finally:
        ended.append(seen())
    return "done"


ended: list[Any] = []


def test_bound_generator_function_is_part_of_the_test_in_each_step() -> None:
    ended.clear()
    steps = TEST.bind(generator)()
    assert next(steps) == [TEST, None]
    assert seen() == [None]
    with under_test(OTHER):
        assert steps.send(1) == (1, [TEST, None])
        with pytest.raises(StopIteration) as stopped:
            next(steps)
    assert stopped.value.value == "done"
    thrown = TEST.bind(generator)()
    next(thrown)
    assert thrown.throw(KeyError()) == [TEST, None]
    thread = threading.Thread(target=thrown.close)
    thread.start()
    thread.join()
    assert ended == [[TEST, None]] * 2
    assert list(TEST.bind(lambda: (seen() for _ in range(2)))()) == [[TEST, None]] * 2


def generator_of_blocks() -> Generator[Any, Any, None]:
    yield seen()
    with under_test(OTHER):
        yield seen()
        yield seen()
    yield seen()


async def async_generator_of_blocks() -> AsyncIterator[Any]:
    for step in generator_of_blocks():
        yield step


def test_block_that_a_bound_generator_holds_is_in_force_until_the_generator_leaves_it() -> None:
    async def steps() -> list[Any]:
        return [(step, seen()) async for step in TEST.bind(async_generator_of_blocks)()]

    expected = [([*tests, None], [None]) for tests in ([TEST], [OTHER, TEST], [OTHER, TEST], [TEST])]
    assert [(step, seen()) for step in TEST.bind(generator_of_blocks)()] == expected
    assert asyncio.run(steps()) == expected


async def async_generator() -> AsyncIterator[Any]:
    try:
        for _ in range(2):
            await asyncio.sleep(0)
            yield seen()
    finally:
        ended.append(seen())


def test_bound_async_generator_function_is_part_of_the_test_in_each_step() -> None:
    async def run() -> list[Any]:
        steps = []
        async for step in TEST.bind(async_generator)():
            steps += [step, seen()]
        left = TEST.bind(async_generator)()
        await anext(left)
        await left.aclose()
        return steps

    ended.clear()
    assert asyncio.run(run()) == [[TEST, None], [None]] * 2
    assert ended == [[TEST, None]] * 2


def test_bound_method_and_callable_object_work() -> None:
    class Shop:
        def store(self) -> list[Any]:
            return [type(self).__name__, *seen()]

        stored = TEST.bind(store)

    assert TEST.bind(Shop().store)() == Shop().stored() == ["Shop", TEST, None]
    assert TEST.bind(Callback())() == [TEST, None]


def test_bound_function_can_be_bound_again() -> None:
    twice = OTHER.bind(TEST.bind(seen))
    assert twice() == [TEST, None]
    assert (twice._function._tests, twice._tests) == ((TEST,), (OTHER,))


def test_callbacks_of_a_loop_can_be_bound() -> None:
    async def run() -> list[Any]:
        loop, called = asyncio.get_running_loop(), asyncio.Event()
        found: list[Any] = []

        def callback() -> None:
            found.append(seen())
            called.set()

        with under_test(OTHER):
            loop.call_soon(TEST.bind(callback))
        await called.wait()
        found.append(await loop.run_in_executor(None, TEST.bind(seen)))
        return found

    assert asyncio.run(run()) == [[TEST, None]] * 2
