"""A `run()` that forgets an `await` does not pass."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from livecheck_celery import SignalEvent, State, aio
from tests.helpers.order_case import declare, execute
from tests.helpers.waiting import wait_until


async def forgets_one(self: Any) -> None:
    self.sent.wait(timeout=5)


async def forgets_the_second(self: Any) -> None:
    await self.sent.wait(timeout=5)
    self.done.wait(timeout=5)


async def compares_it(self: Any) -> None:
    assert self.sent.wait(timeout=5) != 8


def resolve(case: Any) -> None:
    asyncio.run(case.sent.resolve("o-1", SignalEvent("sent", case.name, "o-1", "7")))


@pytest.mark.promise("A test that forgets to await a signal does not pass.", theme="aio")
@pytest.mark.filterwarnings("ignore:coroutine '.*Signal.wait' was never awaited")
@pytest.mark.parametrize(
    ("run", "error"),
    [
        (forgets_one, "signal sent (1 of 2): wait() was never awaited; write: await self.sent.wait()"),
        (forgets_the_second, "signal done (2 of 2): wait() was never awaited; write: await self.done.wait()"),
        (compares_it, "signal sent (1 of 2): wait() was never awaited; write: await self.sent.wait()"),
    ],
)
def test_wait_that_is_not_awaited_is_an_error(livecheck: aio.LiveCheck, run: Any, error: str) -> None:
    case = declare(livecheck, run)
    resolve(case)
    runner = execute(case)
    assert (runner.state, str(runner.error)) == (State.ERROR, error)


def test_python_warns_of_a_wait_that_is_not_awaited(livecheck: aio.LiveCheck) -> None:
    case = declare(livecheck, forgets_one)
    with pytest.warns(RuntimeWarning, match="coroutine 'Signal.wait' was never awaited"):
        execute(case)


async def starts_a_task(self: Any) -> None:
    self.task = asyncio.create_task(self.done.wait(timeout=60))


async def gathers(self: Any) -> None:
    asyncio.gather(self.sent.wait(timeout=5), self.done.wait(timeout=60))


async def waits_for_both(self: Any) -> None:
    await asyncio.gather(self.sent.wait(timeout=5), self.done.wait(timeout=60))


async def starts_a_helper(self: Any) -> None:
    self.task = asyncio.create_task(waits_for_both(self))
    await self.sent.wait(timeout=5)


@pytest.mark.parametrize("run", [starts_a_task, gathers, starts_a_helper])
def test_wait_of_a_task_that_is_not_awaited_is_an_error(livecheck: aio.LiveCheck, run: Any) -> None:
    case = declare(livecheck, run)
    resolve(case)
    runner = execute(case)
    assert runner.state is State.ERROR
    assert ": wait() had not ended when run() returned; await it, or cancel its task" in str(runner.error)


async def catches_the_end(self: Any) -> None:
    try:
        await self.done.wait(timeout=60)
    except RuntimeError as exc:
        self.ends.append(str(exc))


async def leaves_one_that_catches(self: Any) -> None:
    self.ends = []
    self.task = asyncio.create_task(catches_the_end(self))
    await asyncio.sleep(0)


def test_wait_ends_with_its_test(livecheck: aio.LiveCheck) -> None:
    case = declare(livecheck, leaves_one_that_catches)
    execute(case)
    wait_until(lambda: case.ends == ["signal done: the test that waits for it has ended"])


async def check(value: int) -> None:
    assert value == 8


async def forgets_a_helper(self: Any) -> None:
    check(await self.sent.wait(timeout=5))  # type: ignore[unused-coroutine] # the mistake


async def forgets_a_helper_in_a_task(self: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(forgets_a_helper(self))


async def forgets_a_request(self: Any) -> None:
    request = self.get_url("http://127.0.0.1:1/")
    assert request


async def forgets_to_skip(self: Any) -> None:
    self.current_execution.skip("sold out")


@pytest.mark.promise("A test that forgets to await a coroutine does not pass.", theme="aio")
@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited")
@pytest.mark.parametrize(
    ("run", "name"),
    [
        (forgets_a_helper, "check"),
        (forgets_a_helper_in_a_task, "check"),
        (forgets_a_request, "Case.get_url"),
        (forgets_to_skip, "TestRunner.skip"),
    ],
)
def test_coroutine_that_is_not_awaited_is_an_error(livecheck: aio.LiveCheck, run: Any, name: str) -> None:
    case = declare(livecheck, run)
    resolve(case)
    runner = execute(case)
    assert (runner.state, str(runner.error)) == (State.ERROR, f"coroutine {name} was never awaited in run()")


async def awaits_its_helper(self: Any) -> None:
    await self.sent.wait(timeout=5)


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited")
def test_coroutine_that_a_hook_forgets_decides_nothing(livecheck: aio.LiveCheck) -> None:
    class Forgetful(aio.Case):
        async def on_test_start(self, runner: aio.TestRunner) -> None:
            check(8)  # type: ignore[unused-coroutine] # the mistake

    case = declare(livecheck, awaits_its_helper, Forgetful)
    resolve(case)
    runner = execute(case)
    assert runner.state is State.PASS, runner.error


async def leaves_garbage_of_another(self: Any) -> None:
    garbage: list[Any] = [check(8)]
    garbage.append(garbage)  # so that only a collection frees it
    del garbage
    gc.collect()


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited")
def test_coroutine_that_is_collected_later_is_not_blamed_on_the_running_test(livecheck: aio.LiveCheck) -> None:
    runner = execute(declare(livecheck, leaves_garbage_of_another))
    assert runner.state is State.PASS, runner.error


class DoubleSignal(aio.Signal[int]):
    """A signal with a ``wait()`` of its own."""

    async def wait(self, **kwargs: Any) -> int:
        return 2 * await super().wait(**kwargs)


@pytest.mark.filterwarnings("ignore:coroutine '.*Signal.wait' was never awaited")
@pytest.mark.parametrize("forgets", [False, True])
def test_wait_of_a_subclass_is_to_be_awaited_too(livecheck: aio.LiveCheck, forgets: bool) -> None:
    class test_order(aio.Case):
        sent: DoubleSignal

        async def run(self) -> None:
            waiting = self.sent.wait(timeout=5)
            assert forgets or await waiting == 14

    case = livecheck.add_case(test_order, name="shop.test_order")
    resolve(case)
    runner = execute(case)
    assert runner.state is (State.ERROR if forgets else State.PASS), runner.error
    assert not forgets or "signal sent (1 of 1): wait() was never awaited" in str(runner.error)


async def awaits_later(self: Any) -> None:
    waiting = self.sent.wait(timeout=5)
    await asyncio.sleep(0)
    assert await waiting == 7


async def awaits_in_a_task(self: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(self.sent.wait(timeout=5))
        tasks.create_task(self.sent.wait(timeout=5))


async def returns_it(self: Any) -> Any:
    return self.sent.wait(timeout=5)


async def stops_waiting(self: Any) -> None:
    first = asyncio.create_task(self.sent.wait(timeout=5))
    second = asyncio.create_task(self.done.wait(timeout=5))
    await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    second.cancel()


async def cancels_a_helper(self: Any) -> None:
    helper = asyncio.create_task(waits_for_both(self))
    await self.sent.wait(timeout=5)
    helper.cancel()


async def leaves_a_task(self: Any) -> None:
    self.task = asyncio.create_task(asyncio.sleep(0.2))


async def waits_often(self: Any) -> None:
    for _ in range(50):
        await self.sent.wait(timeout=5)
    assert len(self.current_execution._waits) <= 1, "what is awaited is not kept"


@pytest.mark.parametrize(
    "run", [awaits_later, awaits_in_a_task, returns_it, stops_waiting, cancels_a_helper, leaves_a_task, waits_often]
)
def test_wait_that_is_awaited_in_any_way_passes(livecheck: aio.LiveCheck, run: Any) -> None:
    case = declare(livecheck, run)
    resolve(case)
    runner = execute(case)
    assert runner.state is State.PASS, runner.error
