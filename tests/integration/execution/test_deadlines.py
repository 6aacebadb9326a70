"""A test that exceeds its deadline is a TIMEOUT, whether or not it can be stopped."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, State, TestRunner, aio
from livecheck_celery.cases.arguments import build
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.execution import deadlines
from tests.helpers.order_case import declare as declare_order
from tests.helpers.order_case import face_of
from tests.helpers.waiting import wait_until

LogOfHanging = Callable[[type[BaseCase], threading.Event], list[str]]


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """The event that stuck tests wait for; set at the end of the test."""
    stop = threading.Event()
    yield stop
    stop.set()


@pytest.fixture
def pool(stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """A worker with two slots."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
        stop.set()


class Noting(Case):
    """Notes the timeouts of its tests."""

    timeouts: list[BaseException]

    def on_test_timeout(self, runner: TestRunner, exc: BaseException) -> None:
        self.timeouts.append(exc)


class NotingAsync(aio.Case):
    """As `Noting`, in the asyncio face."""

    timeouts: list[BaseException]

    async def on_test_timeout(self, runner: aio.TestRunner, exc: BaseException) -> None:
        self.timeouts.append(exc)


def declare(livecheck: LiveCheck, run: Callable[..., Any], **options: Any) -> Any:
    case = declare_order(livecheck, run, NotingAsync if face_of(run).is_async else Noting, **options)
    case.timeouts = []
    return case


def start(pool: ThreadPoolExecutor, case: Any) -> Future[TestRunner]:
    return pool.submit(case.execute_here, build(case, "o-1"))


def timed_out(case: Any) -> str:
    """Wait for the report of ``case``, which must be a TIMEOUT, and return its error."""
    [report] = wait_until(lambda: case.app.runtime.store.reports.latest([case.name], count=10), what="a report")
    assert report.state is State.TIMEOUT
    assert case.total_by_state == Counter(TIMEOUT=1)
    return str(report.error)


@pytest.mark.promise(
    "A `run()` that exceeds `max_runtime` is a TIMEOUT within 2 s, even if its thread cannot be stopped (on gevent: "
    "unless it blocks the whole process).",
    theme="recovery",
)
def test_thread_that_cannot_be_stopped_times_out_and_is_logged(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def run(self: Any) -> None:
        stop.wait(30)

    case = declare(livecheck, run, max_runtime=0.2)
    running = start(pool, case)
    place = f"test_deadlines.py:{run.__code__.co_firstlineno + 1}"
    assert timed_out(case) == f"run() was still running after 0.2 s ({place})"
    wait_until(lambda: "holds a slot" in caplog.text)
    line = run.__code__.co_firstlineno + 1
    held = "deadlines: shop.test_order:o-1 has its verdict but still holds a slot: its run() cannot be stopped"
    assert f"{held}; it is at {__file__}:{line}" in caplog.messages
    assert not running.done()
    assert livecheck.runtime.leases._held == set(), "the lease is dropped"
    stop.set()
    assert running.result(10).state is State.TIMEOUT
    assert "deadlines: shop.test_order:o-1: run() has returned; its slot is free again" in caplog.messages
    assert case.total_by_state == Counter(TIMEOUT=1), "the later outcome is not counted"
    assert len(case.timeouts) == 1


def test_held_slot_is_logged_repeatedly(
    livecheck: LiveCheck,
    pool: ThreadPoolExecutor,
    stop: threading.Event,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlines, "REMIND", 0.1)
    case = declare(livecheck, lambda self: stop.wait(30), max_runtime=0.1)
    start(pool, case)
    wait_until(lambda: caplog.text.count("holds a slot") >= 3)
    assert len(case.timeouts) == 1


def test_test_without_max_runtime_can_run_until_it_expires(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, stop: threading.Event
) -> None:
    case = declare(livecheck, lambda self: stop.wait(30), test_expires=0.3)
    start(pool, case)
    assert timed_out(case).startswith("run() was still running when the test expired (test_deadlines.py:")


def test_test_that_expires_before_max_runtime_times_out_then(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, stop: threading.Event
) -> None:
    case = declare(livecheck, lambda self: stop.wait(30), test_expires=0.3, max_runtime=30)
    start(pool, case)
    assert timed_out(case).startswith("run() was still running after 0.")


def test_coroutine_is_cancelled_and_frees_its_slot(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    async def run(self: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            ended.append("finally")

    case = declare(livecheck, run, max_runtime=0.2)
    assert start(pool, case).result(10).state is State.TIMEOUT
    assert ended == ["cancelled", "finally"]
    assert re.fullmatch(
        rf"run\(\) was stopped after 0.\d s \(test_deadlines.py:{run.__code__.co_firstlineno + 2}\)", timed_out(case)
    )
    assert "holds a slot" not in caplog.text


def test_coroutine_that_blocks_the_event_loop_times_out(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(self: Any) -> None:
        stop.wait(30)  # blocks the event loop, and every other coroutine with it

    case = declare(livecheck, run, max_runtime=0.2)
    start(pool, case)
    place = f"test_deadlines.py:{run.__code__.co_firstlineno + 1}"
    assert timed_out(case) == f"run() was still running after 0.2 s ({place})"
    blocked = f"event loop: blocked by shop.test_order:o-1, at {__file__}:{run.__code__.co_firstlineno + 1}"
    wait_until(lambda: blocked in caplog.text)


def test_timeout_error_raised_by_a_coroutine_is_an_error(livecheck: LiveCheck, pool: ThreadPoolExecutor) -> None:
    async def run(self: Any) -> None:
        raise TimeoutError("of the service")

    case = declare(livecheck, run, max_runtime=5)
    assert start(pool, case).result(10).state is State.ERROR


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_wait_ends_at_max_runtime_and_names_the_missing_signal(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, kind: str
) -> None:
    def run(self: Any) -> None:
        self.sent.wait(timeout=30)

    async def run_async(self: Any) -> None:
        await self.sent.wait(timeout=30)

    case = declare(livecheck, run if kind == "plain" else run_async, max_runtime=0.2)
    started = time.monotonic()
    assert start(pool, case).result(10).state is State.TIMEOUT
    assert time.monotonic() - started < 5
    assert timed_out(case).startswith("signal sent (1 of 2) did not arrive within 0.")


def test_test_within_its_deadline_is_not_affected(
    livecheck: LiveCheck, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    case = declare(livecheck, lambda self: wait_until(lambda: time.monotonic() > started + 1.2), max_runtime=30)
    with caplog.at_level(logging.WARNING):
        assert start(pool, case).result(10).state is State.PASS
    assert caplog.messages == []
    assert livecheck.runtime.deadlines._due == {}


def test_second_attempt_has_the_full_max_runtime(livecheck: LiveCheck, pool: ThreadPoolExecutor) -> None:
    case = declare(livecheck, lambda self: None, max_runtime=0.2)
    test = build(case, "o-1")
    livecheck.runtime.store.executions.record(test, expires_in=60)
    livecheck.runtime.store.executions.claim(
        test, token="dead", address="dead", lease=0.3, active=True, frequency=None, max_history=10, expires_in=60
    )
    wait_until(lambda: livecheck.runtime.store.executions.due(case.name, 1), what="the lease has lapsed")
    assert pool.submit(case.execute_here, test).result(10).state is State.PASS


@pytest.fixture
def log_of_hanging(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> LogOfHanging:
    """Execute a test with a base whose hook hangs until ``end``, which is set once it is logged; return the log."""
    monkeypatch.setattr(deadlines, "SLOW", 0.1)
    monkeypatch.setattr(deadlines, "TICK", 0.05)

    def lines() -> list[str]:
        return [line for line in caplog.messages if line.startswith("deadlines: ")]

    def execute(base: type[BaseCase], end: threading.Event) -> list[str]:
        case = declare_order(livecheck, lambda self: None, base)

        def worker() -> Any:
            return case.execute_here(build(case, "o-1"))  # as celery/app/trace.py does

        with ThreadPoolExecutor(1) as pool:
            test = pool.submit(worker)
            wait_until(lines, what="a log line")
            end.set()
            assert test.result(10).state is State.PASS
        return lines()

    return execute


def test_hook_that_hangs_is_named_with_its_line(livecheck: LiveCheck, log_of_hanging: LogOfHanging) -> None:
    end = threading.Event()

    class Slow(Case):
        def on_test_pass(self, runner: Any) -> None:
            end.wait(10)

    [line] = log_of_hanging(Slow, end)
    assert line.startswith("deadlines: case shop.test_order: on_test_pass() has taken 0 s, at ")
    assert "end.wait(10)" in line
    assert not livecheck.runtime.deadlines._blocks


@pytest.mark.parametrize("waits_for", ["a coroutine of the module", "asyncio"])
def test_async_hook_that_hangs_is_named_with_the_line_at_which_it_waits(
    log_of_hanging: LogOfHanging, waits_for: str
) -> None:
    end = threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(end.wait, 10)  # in a coroutine

    class Slow(aio.Case):
        async def on_test_pass(self, runner: Any) -> None:
            if waits_for == "asyncio":
                await asyncio.to_thread(end.wait, 10)  # in the hook
            else:
                await wait()

    line, *_ = log_of_hanging(Slow, end)
    place = "in on_test_pass(): await asyncio" if waits_for == "asyncio" else "in wait(): await asyncio"
    assert f"{Path(__file__).name}:" in line
    assert place in line


class HangingAwaitable:
    """An awaitable of a library, whose place is unknown."""

    def __init__(self, end: threading.Event) -> None:
        self.end = end

    def __await__(self) -> Any:
        yield from asyncio.to_thread(self.end.wait, 10).__await__()


def test_place_in_the_code_that_called_livecheck_is_not_that_of_a_hook(log_of_hanging: LogOfHanging) -> None:
    end = threading.Event()
    hooks = {"on_test_pass": lambda self, _: HangingAwaitable(end)}
    assert not any("in worker()" in line for line in log_of_hanging(type("Slow", (aio.Case,), hooks), end))
