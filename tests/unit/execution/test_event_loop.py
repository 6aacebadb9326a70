"""Coroutines on the event loop of a LiveCheck."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from livecheck_celery.execution.event_loop import EventLoop
from tests.helpers.waiting import at_once, wait_until

var: ContextVar[str] = ContextVar("var", default="unset")


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "livecheck-async"}


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    before = threads()
    loop = EventLoop()
    yield loop
    loop.close()
    wait_until(lambda: threads() <= before, what="the thread of the loop to end")


async def thread_of_loop() -> threading.Thread:
    return threading.current_thread()


def test_value_that_is_not_a_coroutine_is_returned_without_a_thread(loop: EventLoop) -> None:
    before = threads()
    assert loop.finish("plain") == "plain"
    loop.close()
    assert threads() == before


def test_result_and_exception_of_a_coroutine_reach_the_caller(loop: EventLoop) -> None:
    async def divide(number: int) -> float:
        await asyncio.sleep(0)
        return 10 / number

    assert loop.finish(divide(5)) == 2.0
    with pytest.raises(ZeroDivisionError):
        loop.finish(divide(0))


def test_coroutine_has_a_copy_of_the_callers_context(loop: EventLoop) -> None:
    async def change() -> str:
        before = var.get()
        var.set("changed")
        return before

    token = var.set("caller's")
    try:
        assert loop.finish(change()) == "caller's"
        assert var.get() == "caller's"
    finally:
        var.reset(token)


def test_simultaneous_callers_share_one_thread(loop: EventLoop) -> None:
    assert len(set(at_once(20, lambda _: loop.finish(thread_of_loop())))) == 1


def test_coroutine_that_runs_during_close_finishes_and_the_thread_ends(loop: EventLoop) -> None:
    started, released = threading.Event(), threading.Event()

    async def run() -> str:
        started.set()
        await asyncio.to_thread(released.wait, 10)
        return "finished"

    with ThreadPoolExecutor(1) as pool:
        thread = loop.finish(thread_of_loop())
        future = pool.submit(loop.finish, run())
        assert started.wait(10)
        loop.close()
        thread.join(0.2)  # a loop that does not wait stops meanwhile
        assert thread.is_alive()
        assert not future.done()
        released.set()
        assert future.result(10) == "finished"
    thread.join(10)
    assert not thread.is_alive()


def test_close_ends_an_idle_thread_and_a_later_coroutine_starts_another(loop: EventLoop) -> None:
    first = loop.finish(thread_of_loop())
    loop.close()
    loop.close()
    first.join(10)
    assert not first.is_alive()
    assert loop.finish(thread_of_loop()) is not first


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException])
def test_exception_that_ends_a_program_does_not_end_the_loop(loop: EventLoop, error: type[BaseException]) -> None:
    async def exit_program() -> None:
        raise error

    async def exit_in_a_task() -> None:
        await asyncio.create_task(exit_program())

    thread = loop.finish(thread_of_loop())
    for fails in (exit_program, exit_in_a_task):
        with pytest.raises(error):
            loop.finish(fails())
        assert loop.finish(thread_of_loop()) is thread


def test_coroutine_that_stops_the_loop_does_not_end_it(loop: EventLoop) -> None:
    async def stop() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "stopped"

    assert loop.finish(stop()) == "stopped"
    assert loop.finish(thread_of_loop()).is_alive()


def test_awaitable_that_a_coroutine_returns_is_awaited(loop: EventLoop) -> None:
    async def outer() -> object:
        return thread_of_loop()

    assert loop.finish(outer()).name == "livecheck-async"


def test_coroutine_cannot_wait_for_its_own_loop(loop: EventLoop) -> None:
    async def run() -> None:
        loop.finish(thread_of_loop(), "case c: hook()")

    with pytest.raises(RuntimeError, match=r"^case c: hook\(\): would block the event loop"):
        loop.finish(run())


def block(released: threading.Event) -> None:
    assert released.wait(20)


def test_code_that_blocks_the_loop_is_logged_with_its_owner_and_place(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("livecheck_celery.execution.loop_watch.BLOCKED_AFTER", 0.1)
    released = threading.Event()

    async def run() -> None:
        await asyncio.create_task(subtask())

    async def subtask() -> None:
        block(released)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(loop.finish, run(), "shop.test_order:42")
        wait_until(lambda: caplog.messages, what="the block is logged")
        released.set()
        future.result(10)
    line = block.__code__.co_firstlineno + 1
    assert caplog.messages[0] == (
        f"event loop: blocked by shop.test_order:42, at {__file__}:{line} in block(): assert released.wait(20);"
        " other async tests wait"
    )
    wait_until(lambda: "free after" in caplog.messages[-1], what="the end of the block is logged")


def test_coroutines_get_another_loop_while_one_is_blocked(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("livecheck_celery.execution.loop_watch.BLOCKED_AFTER", 0.05)
    monkeypatch.setattr("livecheck_celery.execution.loop_watch.REPLACED_AFTER", 0.1)
    released = threading.Event()

    async def run() -> str:
        block(released)
        await asyncio.sleep(0)
        return "finished"

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(loop.finish, run())
        wait_until(lambda: any("another loop" in line for line in caplog.messages), what="the loop is replaced")
        assert loop.finish(thread_of_loop()).name == "livecheck-async"
        assert not future.done()
        released.set()
        assert future.result(10) == "finished"


def test_forked_child_has_its_own_loop(loop: EventLoop) -> None:
    async def answer() -> str:
        return "child"

    loop.finish(thread_of_loop())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if loop.finish(answer()) == "child" else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
