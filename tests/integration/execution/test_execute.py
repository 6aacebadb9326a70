"""``execute()`` by hand, which raises the verdict, and on a worker, which does not; and overrides of it. Both faces."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from livecheck_celery import (
    LiveCheckTestFailed,
    LiveCheckTestRaised,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    RedisUnavailable,
    State,
    TestReport,
    current_execution,
    current_test,
)
from livecheck_celery.cases.arguments import build
from livecheck_celery.delivery.publisher import CASE_KEYWORD, TEST_KEYWORD
from livecheck_celery.execution.inbox import Interrupted
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.faces import AIO, Face
from tests.helpers.order_case import outcomes
from tests.helpers.waiting import wait_until
from tests.helpers.written_once import declare, done


@pytest.fixture
def livecheck(faced: Any) -> Any:
    """A LiveCheck of either face."""
    return faced


def by_hand(face: Face, case: Any, test: Any = None) -> Any:
    """Execute a test as users do."""
    result = case.execute(test or build(case, "o-1"))
    return asyncio.run(done(result)) if face.is_async else result


def on_worker(case: Any, id: str = "o-1") -> Any:
    """Execute a test as a worker does; return its runner."""
    runners: list[Any] = []
    runner = case.execute_on_worker(build(case, id), runners.append)
    wait_until(lambda: runner or runners, what="the test has ended")
    return runner or runners[0]


OWN = {
    State.FAIL: LiveCheckTestFailed("not so"),
    State.SKIP: LiveCheckTestSkipped("no market"),
    State.TIMEOUT: LiveCheckTestTimeout("too slow"),
    State.ERROR: LiveCheckTestRaised("by hand"),
}
RAISED = [
    (AssertionError("wrong side"), State.FAIL, LiveCheckTestFailed),
    (KeyError("price"), State.ERROR, LiveCheckTestRaised),
    (SystemExit(1), State.ERROR, LiveCheckTestRaised),
    (RedisUnavailable("of the application"), State.ERROR, LiveCheckTestRaised),
    (ExceptionGroup("two", [KeyError("price"), AssertionError("wrong side")]), State.FAIL, LiveCheckTestFailed),
    *((error, state, type(error)) for state, error in OWN.items()),
]


@pytest.mark.promise("`case.execute()` by hand raises any verdict but PASS, once it is recorded.", theme="verdicts")
@pytest.mark.parametrize(("error", "state", "kind"), RAISED, ids=lambda value: repr(value)[:20])
def test_verdict_is_raised_by_hand(
    livecheck: Any, face: Face, error: BaseException, state: State, kind: type[Exception]
) -> None:
    reported: list[State] = []

    async def run(self: Any) -> None:
        raise error

    async def post_report(self: Any, report: TestReport) -> None:
        reported.append(report.state)

    case = declare(livecheck, face, run=run, post_report=post_report)
    with pytest.raises(kind) as caught:
        by_hand(face, case)
    assert type(caught.value) is kind
    assert (caught.value is error) == (error in OWN.values())
    if error not in OWN.values():
        assert caught.value.__cause__ is error
    assert outcomes(case) == [(state, str(caught.value))]
    assert reported == [state]


@pytest.mark.parametrize(("error", "state", "kind"), RAISED, ids=lambda value: repr(value)[:20])
def test_verdict_is_not_raised_on_a_worker(
    livecheck: Any, face: Face, error: BaseException, state: State, kind: type[Exception]
) -> None:
    async def run(self: Any) -> None:
        raise error

    runner = on_worker(declare(livecheck, face, run=run))
    assert (runner.state, type(runner.outcome)) == (state, kind)


def test_pass_returns_the_runner(livecheck: Any, face: Face) -> None:
    async def run(self: Any) -> None: ...

    runner = by_hand(face, declare(livecheck, face, run=run))
    assert (runner.state, runner.outcome) == (State.PASS, None)
    again = by_hand(face, runner.case, runner.test)
    assert (again.state, again.report) == (State.INIT, None), "it has its verdict"


def test_test_that_is_not_run_is_raised_as_skipped(livecheck: Any, face: Face) -> None:
    async def run(self: Any) -> None: ...

    with pytest.raises(LiveCheckTestSkipped, match="the case is not active"):
        by_hand(face, declare(livecheck, face, run=run, active=False))


def test_runner_by_itself_raises_the_verdict(livecheck: Any, face: Face) -> None:
    async def run(self: Any) -> None:
        raise KeyError("price")

    case = declare(livecheck, face, run=run)
    runner = case.Runner(case, build(case, "o-1"), started=0.0)
    with pytest.raises(LiveCheckTestRaised, match="KeyError: 'price'"):
        face.call(livecheck, runner.execute)


def test_task_has_the_verdict_as_its_result(livecheck: Any, face: Face) -> None:
    async def run(self: Any) -> None:
        raise AssertionError("wrong side")

    case = declare(livecheck, face, run=run)
    case.execute_on_worker = lambda test, done: case.execute_here(test)
    message = {CASE_KEYWORD: case.name, TEST_KEYWORD: build(case, "o-1").as_message()}
    assert Tasks([livecheck]).execute(**message) == "FAIL"


def test_no_verdict_is_raised_without_redis(livecheck: Any, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: Any) -> None: ...

    def unavailable(*args: Any, **kwargs: Any) -> None:
        raise RedisUnavailable("refused")

    case = declare(livecheck, face, run=run)
    monkeypatch.setattr(type(livecheck.runtime.store.executions), "claim", unavailable)
    monkeypatch.setattr(
        type(livecheck.runtime.runner_resources.retry), "__call__", lambda self, call, *args, **kw: call()
    )
    with pytest.raises(RedisUnavailable, match="refused"):
        by_hand(face, case)
    with pytest.raises(RedisUnavailable, match="refused"):
        case.execute_here(build(case, "o-1"))


def test_cancelled_task_stays_cancelled(redis_url: str) -> None:
    async def run(self: Any) -> None:
        running.set()
        await asyncio.Event().wait()

    async def execute() -> None:
        task = asyncio.create_task(case.execute(build(case, "o-1")))
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    livecheck, running = AIO.livecheck(redis_url), asyncio.Event()
    case = declare(livecheck, AIO, run=run)
    asyncio.run(execute())
    assert [state for state, _ in outcomes(case)] == [State.ERROR]
    livecheck.close()


# -- cases that override execute()


def overriding(livecheck: Any, face: Face, execute: Any, **body: Any) -> Any:
    """Declare a case with this ``execute()``, whose hooks note that they were called in ``called``."""

    async def run(self: Any, *args: Any) -> None:
        self.called.append("run")
        assert args != ("wrong",)

    async def on_test_start(self: Any, runner: Any) -> None:
        self.called.append("start")

    case = declare(livecheck, face, **{"run": run, **body}, execute=execute, called=[], on_test_start=on_test_start)
    case.base = super(type(case), case)
    return case


async def calls_super(self: Any, test: Any) -> Any:
    runner = self.current_execution
    assert runner is current_execution()
    assert (runner.case, runner.test, runner.state) == (self, test, State.INIT)
    assert current_test() is None
    self.log.info("before")
    with pytest.raises(RuntimeError, match=r"wait\(\) works only inside run\(\)"):
        await done(self.sent.wait())
    result = await done(self.base.execute(test))
    assert result is runner is self.current_execution
    return result


def test_current_execution_is_set_in_an_override(livecheck: Any, face: Face, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    case = overriding(livecheck, face, calls_super)
    assert by_hand(face, case).state is State.PASS
    assert on_worker(case, "o-2").state is State.PASS
    assert current_execution() is None
    assert case.called == ["start", "run"] * 2
    assert "[test_order:o-1] PASS; logged:\n  before" in caplog.messages


async def returns(self: Any, test: Any) -> None: ...


async def asserts(self: Any, test: Any) -> None:
    raise AssertionError("no market today")


async def skips(self: Any, test: Any) -> None:
    raise LiveCheckTestSkipped("no market today")


async def exits(self: Any, test: Any) -> None:
    raise SystemExit(1)


NOT_EXECUTED = "execute() of the case returned without executing the test; call super().execute(test) in it"


@pytest.mark.promise("A test that an overridden `execute()` does not execute has a verdict.", theme="verdicts")
@pytest.mark.parametrize(
    ("execute", "state", "error"),
    [
        (returns, State.ERROR, NOT_EXECUTED),
        (asserts, State.FAIL, "no market today (test_execute.py:"),
        (skips, State.SKIP, "no market today"),
        (exits, State.ERROR, "SystemExit: 1 (test_execute.py:"),
    ],
)
def test_override_that_executes_nothing_is_a_verdict_on_a_worker(
    livecheck: Any, face: Face, execute: Any, state: State, error: str
) -> None:
    case = overriding(livecheck, face, execute)
    test = build(case, "o-1")
    livecheck.runtime.store.executions.record(test, expires_in=60)
    runner = case.execute_here(test)
    assert (runner.state, runner.report.state, case.called) == (state, state, [])
    [(recorded, text)] = outcomes(case)
    assert recorded is state
    assert text is not None
    assert text.startswith(error)
    assert case.total_by_state == Counter({state: 1})


def test_override_that_executes_nothing_is_not_judged_by_hand(livecheck: Any, face: Face) -> None:
    case = overriding(livecheck, face, returns)
    assert by_hand(face, case) is None
    assert outcomes(case) == []


@pytest.mark.parametrize("fails", [False, True])
def test_what_an_override_raises_after_the_test_is_logged(
    livecheck: Any, face: Face, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def execute(self: Any, test: Any) -> None:
        try:
            await done(self.base.execute(test))
        finally:
            raise KeyError("cleanup")

    async def run(self: Any) -> None:
        assert not fails

    case = overriding(livecheck, face, execute, run=run)
    runner = on_worker(case)
    assert runner.report.state is (State.FAIL if fails else State.PASS)
    assert caplog.messages[-1] == "case shop.test_order: execute() raised after the test"
    assert len(outcomes(case)) == 1


def test_override_that_catches_the_verdict_changes_nothing(
    livecheck: Any, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    async def execute(self: Any, test: Any) -> None:
        with pytest.raises(LiveCheckTestFailed):
            await done(self.base.execute(test))

    async def run(self: Any) -> None:
        raise AssertionError("wrong side")

    assert on_worker(overriding(livecheck, face, execute, run=run)).state is State.FAIL
    assert "raised after" not in caplog.text


async def replaces_the_test(self: Any, test: Any) -> None:
    await done(self.base.execute(replace(test, test_args=["right"])))


async def makes_its_runner(self: Any, test: Any) -> None:
    await done(self.Runner(self, replace(test, test_args=["right"]), started=0.0).execute())


@pytest.mark.parametrize("execute", [replaces_the_test, makes_its_runner])
def test_runner_that_executed_the_test_has_its_result(livecheck: Any, face: Face, execute: Any) -> None:
    case = overriding(livecheck, face, execute)
    runner = case.execute_here(build(case, "o-1", ("wrong",)))
    assert (runner.report.state, runner.test.test_args) == (State.PASS, ["right"])


def test_test_is_handed_back_if_the_worker_stops_in_an_override(livecheck: Any, face: Face) -> None:
    async def execute(self: Any, test: Any) -> None:
        raise Interrupted("the worker is stopping")

    case = overriding(livecheck, face, execute)
    runner = on_worker(case)
    assert (runner.handed_back, runner.report, outcomes(case)) == (True, None, [])


def test_override_of_a_coroutine_is_cancelled_when_the_worker_stops(redis_url: str) -> None:
    running = []

    async def execute(self: Any, test: Any) -> None:
        running.append(test)
        await asyncio.Event().wait()

    livecheck = AIO.livecheck(redis_url)
    case = overriding(livecheck, AIO, execute)
    runners: list[Any] = []
    case.execute_on_worker(build(case, "o-1"), runners.append)
    wait_until(lambda: running, what="it has begun")
    livecheck.runtime.interruption.after(0.0)
    livecheck.runtime.async_tests.finish()
    [runner] = runners
    assert (runner.handed_back, runner.report) == (True, None)
    livecheck.close()
