"""The hooks of a runner: what a subclass is called with, and that it decides nothing. In both faces."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any

import pytest

from livecheck_celery import (
    LiveCheckTestFailed,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    SignalEvent,
    State,
    TestReport,
    current_execution,
)
from livecheck_celery.cases.arguments import build
from livecheck_celery.execution.inbox import Interrupted
from tests.helpers.faces import AIO, Face
from tests.helpers.order_case import outcomes
from tests.helpers.written_once import declare, done, method

NAME = "shop.test_order"
HOOKS = {
    "on_start": 0,
    "on_signal_wait": 2,
    "on_signal_received": 3,
    "on_skipped": 1,
    "on_failed": 1,
    "on_error": 1,
    "on_timeout": 1,
    "on_pass": 0,
    "end": 0,
}


@pytest.fixture
def livecheck(faced: Any) -> Any:
    """A LiveCheck of either face."""
    return faced


def runner_class(face: Face, **hooks: Any) -> Any:
    """Return a Runner of ``face`` with these hooks, coroutine functions except ``end``."""
    made = {name: hook if name == "end" else method(face, hook) for name, hook in hooks.items()}
    return type("MyRunner", (face.Case.Runner,), made)


def noting(face: Face, calls: list[tuple[Any, ...]], *, calls_super: bool, raises: bool = False) -> Any:
    """Return a Runner that notes its calls."""

    def hook(name: str) -> Any:
        async def call(self: Any, *args: Any) -> None:
            assert current_execution() is self
            assert len(args) == HOOKS[name]
            calls.append((name, *args))
            if raises:
                raise SystemExit(f"{name} breaks")
            if calls_super:
                await done(getattr(super(type(self), self), name)(*args))

        call.__name__ = name
        return call

    def end(self: Any) -> None:
        calls.append(("end",))
        if raises:
            raise RuntimeError("end breaks")

    return runner_class(face, **{**{name: hook(name) for name in HOOKS}, "end": end})


def case_hooks(calls: list[tuple[Any, ...]]) -> dict[str, Any]:
    def hook(name: str) -> Any:
        async def call(self: Any, *args: Any) -> None:
            calls.append((name,))

        return call

    return {
        f"on_test_{name}": hook(f"on_test_{name}")
        for name in ("start", "pass", "failed", "error", "timeout", "skipped")
    }


async def passes(self: Any) -> None:
    assert await done(self.sent.wait(timeout="5s")) == 7


async def fails(self: Any) -> None:
    raise LiveCheckTestFailed("not so")


async def raises(self: Any) -> None:
    raise KeyError("price")


async def times_out(self: Any) -> None:
    await done(self.done.wait(timeout=0.01))


async def skips(self: Any) -> None:
    raise LiveCheckTestSkipped("no market")


VERDICTS = [
    pytest.param(passes, State.PASS, "on_pass", id="PASS"),
    pytest.param(fails, State.FAIL, "on_failed", id="FAIL"),
    pytest.param(raises, State.ERROR, "on_error", id="ERROR"),
    pytest.param(times_out, State.TIMEOUT, "on_timeout", id="TIMEOUT"),
    pytest.param(skips, State.SKIP, "on_skipped", id="SKIP"),
]


def execute(case: Any, id: str = "o-1") -> Any:
    """Execute a test, whose signal ``sent`` was sent."""
    case.sent.send(7, key=id, force=True)
    assert case.app.flush()
    return case.execute_here(build(case, id))


@pytest.mark.parametrize(("run", "state", "verdict"), VERDICTS)
def test_hooks_call_those_of_the_case(livecheck: Any, face: Face, run: Any, state: State, verdict: str) -> None:
    calls: list[tuple[Any, ...]] = []
    own = noting(face, calls, calls_super=True)
    runner = execute(declare(livecheck, face, run=run, Runner=own, **case_hooks(calls)))
    assert (type(runner), runner.state) == (own, state)
    names = [name for name, *_ in calls if not name.startswith("on_signal")]
    assert names == ["on_start", "on_test_start", "end", verdict, f"on_test_{verdict.removeprefix('on_')}"]
    [*_, (_, *args), _] = calls
    assert args == ([] if state is State.PASS else [runner.error])


@pytest.mark.parametrize(("run", "state", "verdict"), VERDICTS)
def test_hook_without_super_replaces_that_of_the_case(
    livecheck: Any, face: Face, run: Any, state: State, verdict: str
) -> None:
    calls: list[tuple[Any, ...]] = []
    case = declare(livecheck, face, run=run, Runner=noting(face, calls, calls_super=False), **case_hooks(calls))
    assert execute(case).state is state
    assert not [name for name, *_ in calls if name.startswith("on_test")]
    assert calls[0] == ("on_start",)
    assert [name for name, *_ in calls[-2:]] == ["end", verdict]


@pytest.mark.promise(
    "A hook of a runner that raises or forgets `super()` changes no verdict or report.", theme="verdicts"
)
@pytest.mark.parametrize(("run", "state"), [pytest.param(*each.values[:2], id=each.id) for each in VERDICTS])
def test_hook_that_raises_changes_nothing(
    livecheck: Any, face: Face, run: Any, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[tuple[Any, ...]] = []
    plain = declare(livecheck, face, "shop.plain", run=run, max_consecutive_failures=1)
    case = declare(
        livecheck, face, run=run, Runner=noting(face, calls, calls_super=False, raises=True), max_consecutive_failures=1
    )
    runner, expected = execute(case), execute(plain)
    assert runner.state is expected.state is state
    assert case.total_by_state == plain.total_by_state == Counter({state: 1})
    assert (case.status, len(case.runtime_history)) == (plain.status, len(plain.runtime_history))
    assert (case.last_fail is None) == (plain.last_fail is None)
    assert outcomes(case) == outcomes(plain)
    assert list(runner.signal_latency) == list(expected.signal_latency)
    logged = [record.getMessage() for record in caplog.records if record.getMessage().endswith("raised")]
    assert logged == [f"case {NAME}: {name}() raised" for name, *_ in calls]
    assert ("end",) in calls


def test_hook_that_changes_the_runner_changes_no_verdict(livecheck: Any, face: Face) -> None:
    calls = []

    def end(self: Any) -> None:
        self.state, self.error, self.ended = State.FAIL, AssertionError("not so"), 0.0

    async def on_pass(self: Any) -> None:
        calls.append(self.report.state)

    case = declare(livecheck, face, run=passes, Runner=runner_class(face, end=end, on_pass=on_pass))
    execute(case)
    assert (calls, outcomes(case)) == ([State.PASS], [(State.PASS, None)])


def test_end_is_called_once_when_the_verdict_is_recorded(livecheck: Any, face: Face) -> None:
    seen = []

    def end(self: Any) -> None:
        seen.append((self.state, self.report.state, outcomes(self.case), self.runtime == self.ended - self.started))

    case = declare(livecheck, face, run=passes, Runner=runner_class(face, end=end))
    runner = execute(case)
    assert seen == [(State.PASS, State.PASS, [(State.PASS, None)], True)]
    runner.end()
    assert runner.state is State.PASS


def test_signal_hooks_get_seconds(livecheck: Any, face: Face) -> None:
    calls: list[tuple[Any, ...]] = []

    async def run(self: Any) -> None:
        await done(self.sent.wait(timeout="5s"))
        await done(self.sent.wait())
        with pytest.raises(LiveCheckTestTimeout):
            await done(self.done.wait(timeout=0.01))

    case = declare(livecheck, face, run=run, Runner=noting(face, calls, calls_super=True))
    before = time.monotonic()
    runner = execute(case)
    assert runner.state is State.PASS
    received = [args for name, *args in calls if name == "on_signal_received"]
    waited = [args for name, *args in calls if name == "on_signal_wait"]
    assert waited == [[case.sent, 5.0], [case.sent, None], [case.done, 0.01]]
    assert [signal for signal, *_ in received] == [case.sent, case.sent]
    assert all(before < start <= end < time.monotonic() for _, start, end in received)
    _, start, end = received[-1]
    assert runner.signal_latency == {"sent": end - start}


def test_timeout_of_a_wait_begins_after_its_hook(livecheck: Any, face: Face) -> None:
    async def on_signal_wait(self: Any, signal: Any, limit: float) -> None:
        await done(signal.resolve("o-1", SignalEvent("sent", NAME, "o-1", "7")))

    async def run(self: Any) -> None:
        assert await done(self.sent.wait(timeout=1)) == 7

    case = declare(livecheck, face, run=run, Runner=runner_class(face, on_signal_wait=on_signal_wait))
    assert case.execute_here(build(case, "o-1")).state is State.PASS


@pytest.mark.parametrize("hook", ["on_start", "on_signal_wait", "on_signal_received"])
def test_hand_back_passes_through_hooks(livecheck: Any, face: Face, hook: str) -> None:
    async def stops(self: Any, *args: Any) -> None:
        raise Interrupted("the worker is stopping")

    case = declare(livecheck, face, run=passes, Runner=runner_class(face, **{hook: stops}))
    runner = execute(case)
    assert (runner.handed_back, runner.state, outcomes(case)) == (True, State.INIT, [])


def test_cancellation_passes_through_the_hook_of_a_wait(redis_url: str) -> None:
    async def on_signal_wait(self: Any, signal: Any, limit: float) -> None:
        await asyncio.Event().wait()

    async def run(self: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await self.sent.wait(timeout=5)

    livecheck = AIO.livecheck(redis_url)
    case = declare(livecheck, AIO, run=run, Runner=runner_class(AIO, on_signal_wait=on_signal_wait))
    assert case.execute_here(build(case, "o-1")).state is State.PASS
    livecheck.close()


@pytest.mark.parametrize("where", ["run", "on_pass"])
def test_skip_ends_the_test_from_run_only(livecheck: Any, face: Face, where: str) -> None:
    skipped = []

    async def run(self: Any) -> None:
        if where == "run":
            await done(self.current_execution.skip("no stock"))
            raise AssertionError("unreachable")

    async def on_pass(self: Any) -> None:
        await done(self.skip("too late"))

    async def on_skipped(self: Any, exc: LiveCheckTestSkipped) -> None:
        skipped.append(str(exc))

    case = declare(livecheck, face, run=run, Runner=runner_class(face, on_pass=on_pass, on_skipped=on_skipped))
    execute(case)
    assert outcomes(case) == [(State.SKIP, "no stock") if where == "run" else (State.PASS, None)]
    assert skipped == (["no stock"] if where == "run" else [])


def test_runner_that_is_set_after_the_declaration_is_used(livecheck: Any, face: Face) -> None:
    case = declare(livecheck, face, run=passes)
    case.Runner = noting(face, calls := [], calls_super=True)
    execute(case)
    assert calls[-1] == ("on_pass",)


def test_verdict_that_recovery_records_calls_the_hooks(livecheck: Any, face: Face) -> None:
    calls: list[str] = []

    async def on_timeout(self: Any, exc: BaseException) -> None:
        calls.append(str(exc))

    case = declare(livecheck, face, run=passes, Runner=runner_class(face, on_timeout=on_timeout))
    test = build(case, "o-1")
    livecheck.runtime.store.executions.record(test, expires_in=60)
    claim = livecheck.runtime.store.executions.claim
    runner = case.Runner(case, test, started=time.monotonic())
    claim(
        test,
        token="sweep",
        address="a",
        lease=10,
        active=True,
        frequency=None,
        max_history=10,
        expires_in=60,
        limits={},
    )
    runner.conclude("sweep", State.TIMEOUT, LiveCheckTestTimeout("lost"))
    assert calls == ["lost"]


# -- progress lines


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("[test_order:")]


def without_seconds(text: str) -> str:
    head, _, tail = text.partition(" after ")
    seconds, _, rest = tail.partition(" ")
    return f"{head} after N {rest}" if float(seconds) >= 0 else text


def test_realtime_logs_show_the_progress(livecheck: Any, face: Face, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def run(self: Any) -> None:
        for _ in range(3):
            await done(self.sent.wait(timeout=5))
        [waiting, received] = lines(caplog)
        assert waiting == "[test_order:o-1] 1/2 sent awaited for up to 5 s"
        assert without_seconds(received) == "[test_order:o-1] 1/2 sent received after N s"
        with pytest.raises(LiveCheckTestTimeout):
            await done(self.done.wait(timeout=0.01))
        assert lines(caplog)[2:] == ["[test_order:o-1] 2/2 done awaited for up to 0.01 s"]

    assert execute(declare(livecheck, face, run=run, realtime_logs=True)).error is None


def test_progress_is_kept_with_the_other_lines_of_the_test(
    livecheck: Any, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def run(self: Any) -> None:
        self.log.info("before")
        for _ in range(3):
            await done(self.sent.wait())
        assert lines(caplog) == []

    execute(declare(livecheck, face, run=run))
    [text] = lines(caplog)
    heading, before, received = text.split("\n")
    assert (heading, before) == ("[test_order:o-1] PASS; logged:", "  before")
    assert without_seconds(received) == "  1/2 sent received after N s"


def test_lines_of_hooks_after_the_verdict_are_logged(
    livecheck: Any, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def post_report(self: Any, report: TestReport) -> None:
        self.log.info("posted %s", report.state)

    execute(declare(livecheck, face, run=fails, post_report=post_report))
    assert lines(caplog) == ["[test_order:o-1] posted FAIL"]
