"""A `run()` that forgets an `await` does not pass."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from livecheck_celery import SignalEvent, State, aio
from tests.helpers.order_case import declare, execute


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


async def waits_often(self: Any) -> None:
    for _ in range(50):
        await self.sent.wait(timeout=5)
    assert len(self.current_execution._waits) <= 1, "what is awaited is not kept"


@pytest.mark.parametrize("run", [awaits_later, awaits_in_a_task, returns_it, stops_waiting, waits_often])
def test_wait_that_is_awaited_in_any_way_passes(livecheck: aio.LiveCheck, run: Any) -> None:
    case = declare(livecheck, run)
    resolve(case)
    runner = execute(case)
    assert runner.state is State.PASS, runner.error
