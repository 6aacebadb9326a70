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
