"""User code on the event loop of the tests, in threads of it, and on loops of its own."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    State,
    current_execution,
)
from livecheck_celery.tasks.fake_requests import make_fake_request
from tests.helpers.order_case import CallableRun, declare, execute, still_works


class Service(Case):
    """Requests a service that is down, and has coroutines for hooks."""

    called: list[str]
    url: str

    async def on_suite_fail(self, exc: Any, new_state: State = State.FAIL) -> None:
        await asyncio.sleep(0.01)
        self.called.append(f"on_suite_fail {new_state}")
        self.get_url(f"{self.url}again") if len(self.called) < 2 else None

    async def post_report(self, report: Any) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def url() -> str:
    return "http://127.0.0.1:1/"


def get_url(self: Any) -> None:
    assert self.get_url(self.url) is None


async def get_url_async(self: Any) -> None:
    get_url(self)


async def get_url_in_thread(self: Any) -> None:
    await asyncio.to_thread(get_url, self)


@pytest.mark.promise("A failing service never blocks the event loop of the tests.", theme="verdicts")
@pytest.mark.parametrize("request_url", [get_url, get_url_async, get_url_in_thread])
def test_coroutine_hook_of_a_request_does_not_wait_for_its_own_loop(
    livecheck: LiveCheck, url: str, request_url: Any
) -> None:
    case = declare(livecheck, request_url, base=Service, url_error_retries=0, frequency=60)
    case.state_transition_delay = 0.0  # each failure of the suite is a new one
    case.url, case.called = url, []
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(execute, case).result(20).state is State.PASS
        assert case.called == ["on_suite_fail FAIL", "on_suite_fail FAIL"]
        case.called.clear()
        type(case).make_fake_request = request_url
        pool.submit(make_fake_request, case).result(20)
    assert case.called == ["on_suite_fail FAIL", "on_suite_fail FAIL"]
    still_works(livecheck)


def test_coroutine_that_closes_its_livecheck_does_not_wait_for_its_own_loop(livecheck: LiveCheck) -> None:
    closed: list[str] = []

    async def close_stack() -> None:
        await asyncio.sleep(0)
        closed.append("stack")

    async def run(self: Case) -> None:
        self.async_exit_stack.push_async_callback(close_stack)
        livecheck.close()

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(execute, case).exception(20)
    assert closed == ["stack"]


def test_executing_a_coroutine_on_the_loop_is_refused(livecheck: LiveCheck) -> None:
    async def inner(self: Case) -> None:
        pass

    other = livecheck.add_case(type("other", (Case,), {"run": inner}), name="other")

    async def run(self: Case) -> None:
        runner = execute(other)
        assert runner.state is State.ERROR
        assert "would block the event loop" in str(runner.error)
        runner = await asyncio.to_thread(execute, other, id="o-2")
        assert runner.state is State.PASS

    assert execute(declare(livecheck, run)).state is State.PASS


def test_wait_in_a_thread_of_a_coroutine_gets_the_signal(livecheck: LiveCheck) -> None:
    async def run(self: Case) -> None:
        assert await asyncio.to_thread(self.sent.wait, timeout=10) == 7

    case = declare(livecheck, run)
    case.sent.send(7, key="o-1", force=True)
    livecheck.flush()
    runner = execute(case)
    assert runner.state is State.PASS, runner.error


async def wait_on_the_loop(self: Any = None) -> None:
    (self or current_execution().case).sent.wait(timeout=30)


@functools.wraps(wait_on_the_loop)
def wrapped(self: Any) -> Any:
    return wait_on_the_loop(self)


@pytest.mark.parametrize("run", [wait_on_the_loop, wrapped, CallableRun(wait_on_the_loop)])
def test_wait_that_would_block_the_loop_is_an_error_however_run_is_decorated(livecheck: LiveCheck, run: Any) -> None:
    runner = execute(declare(livecheck, run))
    assert runner.state is State.ERROR
    assert "await ...sent.wait_async()" in str(runner.error)


def test_private_loop_of_run_may_wait(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        async def main() -> None:
            assert self.sent.wait(timeout=10) == 7

        asyncio.run(main())

    case = declare(livecheck, run)
    case.sent.send(7, key="o-1", force=True)
    livecheck.flush()
    runner = execute(case)
    assert runner.state is State.PASS, runner.error
