"""Blocking calls of coroutines, in threads: one whose task is cancelled goes on, and is not left alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from livecheck_celery.execution import drivers
from livecheck_celery.execution.drivers import LoopDriver, Threads
from tests.helpers.waiting import wait_until


@pytest.fixture
def driver() -> Iterator[LoopDriver]:
    threads = Threads()
    yield LoopDriver(threads)
    threads.close()


class Call:
    """A call that ends when it may; its task is cancelled before."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.ended = threading.Event(), threading.Event(), False

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(10)
        self.ended = True
        return "recorded"

    async def cancelled(self, execute: Callable[[], Awaitable[str]]) -> str:
        task = asyncio.ensure_future(execute())
        await asyncio.to_thread(self.begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        self.may_end.set()
        return await task


def test_cancelled_task_ends_after_the_call(driver: LoopDriver) -> None:
    call = Call()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call.cancelled(lambda: driver.blocking(call)))
    assert call.ended


def test_calls_that_wait_for_a_thread_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_MANY", 3)
    threads, may_end, has_room = Threads(), threading.Event(), threading.Event()
    threads.on_room = has_room.set

    async def call_all() -> None:
        tasks = [asyncio.ensure_future(threads.call(may_end.wait, 10)) for _ in range(4)]
        await asyncio.to_thread(wait_until, lambda: threads.is_behind)
        assert not has_room.is_set()
        may_end.set()
        assert all(await asyncio.gather(*tasks))

    assert not threads.is_behind
    asyncio.run(call_all())
    assert has_room.is_set()
    assert not threads.is_behind
    threads.close()


def test_call_has_its_result_although_tests_that_wait_cannot_begin(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("cannot start a thread")

    threads = Threads()
    threads.on_room = fail
    assert asyncio.run(threads.call(lambda: "result")) == "result"
    assert caplog.messages == ["event loop: failed to begin tests that wait"]
    threads.close()


def test_child_begins_none_of_the_tests_that_wait_in_its_parent() -> None:
    threads = Threads()
    threads.on_room = lambda: pytest.fail("they are the parent's")
    threads.after_fork()
    assert asyncio.run(threads.call(lambda: "result")) == "result"
    threads.close()


def test_cancellation_is_too_late_for_what_is_recorded(driver: LoopDriver) -> None:
    call = Call()

    async def execute() -> str:
        recorded = await driver.recording(call)
        await asyncio.sleep(0)
        return recorded

    assert asyncio.run(call.cancelled(execute)) == "recorded"
