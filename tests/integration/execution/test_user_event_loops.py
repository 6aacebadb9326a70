"""Synchronous code on the event loop of the tests, in threads of it, and on loops of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, Signal, State, aio
from livecheck_celery.cases.arguments import build
from livecheck_celery.tasks.fake_requests import make_fake_request
from tests.helpers.order_case import declare, execute, still_works


class Service(aio.Case):
    """Requests a service that is down, and again when its suite fails by that."""

    called: list[str]
    url: str

    async def on_suite_fail(self, exc: Any, new_state: State = State.FAIL) -> None:
        await asyncio.sleep(0.01)
        self.called.append(f"on_suite_fail {new_state}")
        await self.get_url(f"{self.url}again") if len(self.called) < 2 else None

    async def post_report(self, report: Any) -> None:
        await asyncio.sleep(0)


async def get_url(self: Any) -> None:
    assert await self.get_url(self.url) is None


@pytest.mark.promise("A failing service never blocks the event loop of the tests.", theme="verdicts")
def test_hook_of_a_request_does_not_wait_for_its_own_loop(livecheck: LiveCheck) -> None:
    case = declare(livecheck, get_url, base=Service, url_error_retries=0, frequency=60)
    case.state_transition_delay = 0.0  # each failure of the suite is a new one
    case.url, case.called = "http://127.0.0.1:1/", []
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(execute, case).result(20).state is State.PASS
        assert case.called == ["on_suite_fail FAIL", "on_suite_fail FAIL"]
        case.called.clear()
        type(case).make_fake_request = get_url
        pool.submit(make_fake_request, case).result(20)
    assert case.called == ["on_suite_fail FAIL", "on_suite_fail FAIL"]
    still_works(livecheck)


@pytest.mark.parametrize("called", ["on the loop", "in a thread"])
def test_coroutine_that_closes_its_livecheck_does_not_wait_for_its_own_loop(livecheck: LiveCheck, called: str) -> None:
    closed: list[str] = []

    async def close_stack() -> None:
        await asyncio.sleep(0)
        closed.append("stack")

    async def run(self: aio.Case) -> None:
        self.async_exit_stack.push_async_callback(close_stack)
        try:
            livecheck.close() if called == "on the loop" else await asyncio.to_thread(livecheck.close)
        except RuntimeError as exc:
            closed.append(str(exc))

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(execute, case).exception(20)
    refused = (
        "case shop.test_order: async_exit_stack: would block the event loop that it waits for; call it by "
        "asyncio.to_thread()"
    )
    assert closed == [refused if called == "on the loop" else "stack"]


def test_executing_a_test_of_this_face_on_the_loop_is_refused(livecheck: LiveCheck) -> None:
    async def inner(self: aio.Case) -> None:
        pass

    other = livecheck.add_case(type("other", (aio.Case,), {"run": inner}), name="other")

    async def run(self: aio.Case) -> None:
        with pytest.raises(RuntimeError, match="would block the event loop"):
            execute(other)
        assert (await asyncio.to_thread(execute, other, id="o-2")).state is State.PASS
        assert (await other.execute(build(other, "o-3"))).state is State.PASS

    runner = execute(declare(livecheck, run))
    assert runner.state is State.PASS, runner.error


class Sync(Case):
    """A case of the sync face, whose signal other code waits for."""

    sent: Signal[int]


@pytest.fixture
def sync(livecheck: LiveCheck) -> Any:
    """The case, whose test o-1 has the signal."""
    case: Any = livecheck.add_case(Sync, name="shop.sync")
    case.sent.send(7, key="o-1", force=True)
    assert livecheck.flush()
    return case


def test_wait_in_a_thread_of_a_coroutine_gets_the_signal(livecheck: LiveCheck, sync: Any) -> None:
    async def run(self: aio.Case) -> None:
        assert await asyncio.to_thread(sync.sent.wait, key="o-1", timeout=10) == 7

    runner = execute(declare(livecheck, run))
    assert runner.state is State.PASS, runner.error


REFUSED = (
    "signal sent (1 of 1): wait() would block the running event loop; signals that are awaited are those of "
    "livecheck_celery.aio"
)


def test_wait_on_the_loop_of_the_tests_is_refused(livecheck: LiveCheck, sync: Any) -> None:
    async def run(self: aio.Case) -> None:
        sync.sent.wait(key="o-1", timeout=10)

    runner = execute(declare(livecheck, run))
    assert (runner.state, str(runner.error)) == (State.ERROR, REFUSED)


def test_wait_on_a_loop_of_run_is_refused(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        async def in_thread() -> None:
            assert await asyncio.to_thread(self.sent.wait, timeout=10) == 7

        async def on_the_loop() -> None:
            self.sent.wait(timeout=10)

        asyncio.run(in_thread())
        asyncio.run(on_the_loop())

    case = declare(livecheck, run, base=Sync)
    case.sent.send(7, key="o-1", force=True)
    livecheck.flush()
    runner = execute(case)
    assert (runner.state, str(runner.error)) == (State.ERROR, REFUSED.replace("1 of 1", "1 of 2"))
