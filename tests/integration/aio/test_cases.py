"""Cases of the asyncio face: what is a method of the reference's contract with ``async`` is awaited."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from celery import Celery

import livecheck_celery
from livecheck_celery import (
    DuplicateTest,
    LiveCheckTestFailed,
    SignalEvent,
    State,
    SuiteFailed,
    TestReport,
    UnknownSignal,
    aio,
)
from livecheck_celery.cases.arguments import build
from livecheck_celery.context import under_test
from livecheck_celery.execution.runner import BaseRunner
from tests.helpers.http_server import KEY
from tests.helpers.order_case import outcomes
from tests.helpers.waiting import wait_until

NAME = "shop.test_order"


def resolved(case: Any, **values: object) -> None:
    """Store signals for the test o-1."""
    for name, value in values.items():
        asyncio.run(case.resolve_signal("o-1", SignalEvent(name, NAME, "o-1", value)))


@pytest.fixture
def case(livecheck: aio.LiveCheck) -> Any:
    """A case whose ``run()`` waits for two signals, and whose hooks note their calls."""

    @livecheck.case(name=NAME, max_consecutive_failures=2)
    class test_order(aio.Case):
        sent: aio.Signal[int]
        done: aio.Signal[str]
        calls: Any = None

        async def run(self, side: str = "buy") -> None:
            if await self.sent.wait(timeout=0.5) != 7:
                raise LiveCheckTestFailed(f"sent is not 7 for {side}")
            assert await self.done.wait(timeout=0.1) == "yes"

        async def on_test_start(self, runner: aio.TestRunner) -> None:
            await asyncio.sleep(0)
            self.calls.append(("start", runner.test.id))

        async def on_test_pass(self, runner: aio.TestRunner) -> None:
            await super().on_test_pass(runner)
            self.calls.append(("pass", asyncio.get_running_loop()))

        async def on_test_failed(self, runner: aio.TestRunner, exc: BaseException) -> None:
            self.calls.append(("failed", str(exc)))

        async def on_test_timeout(self, runner: aio.TestRunner, exc: BaseException) -> None:
            self.calls.append(("timeout", str(exc)))

        async def post_report(self, report: TestReport) -> None:
            self.calls.append(("report", report.state))

        async def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            self.calls.append(("suite", str(exc), new_state))

    test_order.calls = []
    return test_order


def test_execute_awaits_run_and_its_hooks_on_the_callers_loop(case: Any) -> None:
    resolved(case, sent=7, done="yes")

    async def execute() -> tuple[State, Any]:
        runner = await case.execute(build(case, "o-1"))
        return runner.state, asyncio.get_running_loop()

    state, loop = asyncio.run(execute())
    assert state is State.PASS
    assert case.calls == [("start", "o-1"), ("pass", loop), ("report", State.PASS)]
    assert outcomes(case) == [(State.PASS, None)]


def test_worker_executes_on_the_event_loop_of_the_process(case: Any) -> None:
    resolved(case, sent=7, done="yes")
    assert case.execute_here(build(case, "o-1")).state is State.PASS
    assert [call[0] for call in case.calls] == ["start", "pass", "report"]


def test_signal_that_arrives_while_run_waits_wakes_it(case: Any) -> None:
    async def execute() -> State:
        running = asyncio.create_task(case.execute(build(case, "o-1")))
        for name, value in (("done", "yes"), ("sent", 7)):
            await case.resolve_signal("o-1", SignalEvent(name, NAME, "o-1", value))
        return (await running).state  # type: ignore[no-any-return]

    assert asyncio.run(execute()) is State.PASS


def test_failures_call_their_hooks_and_fail_the_suite(case: Any) -> None:
    resolved(case, sent=8)
    case.execute_here(build(case, "o-1", (), {"side": "sell"}))
    case.execute_here(build(case, "o-2"))  # no signal arrives
    assert case.calls[:3] == [("start", "o-1"), ("failed", "sent is not 7 for sell"), ("report", State.FAIL)]
    assert case.calls[3][0] == "start"
    suite = "2 tests failed in a row (limit 2)"
    assert case.calls[-1] == ("suite", suite, State.FAIL)


def test_signal_of_another_test_is_awaited_by_its_key(livecheck: aio.LiveCheck) -> None:
    values = []

    @livecheck.case(name=NAME)
    class test_order:
        sent: aio.Signal[int]

        async def run(self) -> None:
            values.append(await self.sent.wait(key="other", timeout=5))

    case: Any = test_order
    asyncio.run(case.sent.resolve("other", SignalEvent("sent", NAME, "other", 3)))
    assert case.execute_here(build(case, "o-1")).state is State.PASS
    assert values == [3]


def test_trigger_is_awaited(case: Any) -> None:
    test = asyncio.run(case.trigger("o-1", side="sell"))
    assert (test.id, test.test_kwargs) == ("o-1", {"side": "sell"})
    with pytest.raises(DuplicateTest):
        asyncio.run(case.trigger("o-1"))


@pytest.mark.parametrize("face", [livecheck_celery, aio])
def test_send_can_be_awaited_or_not(redis_url: str, face: Any) -> None:
    livecheck = face.LiveCheck(Celery("shop", broker=redis_url, set_as_current=False), secret_key=KEY)

    case = livecheck.add_case(type("test_order", (face.Case,), {"sent": face.Signal(value_type=int)}), name=NAME)
    test = build(case, "o-1")

    async def send() -> None:
        await case.sent.send(1)
        await asyncio.ensure_future(case.sent.send(2))

    with under_test(test):
        case.sent.send(0)
        asyncio.run(send())
    livecheck.flush()
    event = livecheck.runtime.store.signals.awaited([(NAME, "o-1", ["sent"])])[0]["sent"]
    assert (event.value, event.arrivals) == ("2", 3)


@pytest.mark.parametrize("declared", [livecheck_celery, aio])
def test_cases_of_either_face_are_declared_on_either_livecheck(livecheck: aio.LiveCheck, declared: Any) -> None:
    cls = type("test_order", (declared.Case,), {"sent": declared.Signal(value_type=int)})
    case = livecheck.case(name=NAME)(cls)
    assert isinstance(case, declared.Case)
    assert list(case.signals) == ["sent"]


def test_faces_share_one_wire_format(redis_url: str, livecheck: aio.LiveCheck) -> None:
    service = livecheck_celery.LiveCheck(Celery("shop", broker=redis_url, set_as_current=False), secret_key=KEY)

    @service.case(name=NAME, probability=1.0)
    class test_order:
        sent: livecheck_celery.Signal[int]

    @livecheck.case(name=NAME)
    class test_order_here:
        sent: aio.Signal[int]

        async def run(self, side: str) -> None:
            assert (side, await self.sent.wait(timeout=5)) == ("sell", 7)

    case: Any = test_order_here
    with test_order.maybe_trigger("o-1", side="sell") as test:
        test_order.sent.send(7)
    assert service.flush()
    assert case.execute_here(test).state is State.PASS
    service.close()


def test_unknown_signal_is_refused(case: Any) -> None:
    with pytest.raises(UnknownSignal, match="unknown signal 'booked'; choose from: sent, done"):
        resolved(case, booked=1)


def test_post_report_of_the_base_class_publishes(livecheck: aio.LiveCheck) -> None:
    @livecheck.case(name=NAME)
    class test_order:
        pass

    case: Any = test_order
    asyncio.run(case.post_report(TestReport(NAME, State.ERROR, error="by hand")))
    assert outcomes(case) == [(State.ERROR, "by hand")]


def test_suite_failure_of_the_base_class_is_recorded_once(
    livecheck: aio.LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    @livecheck.case(name=NAME)
    class test_order:
        pass

    case: Any = test_order
    with caplog.at_level(logging.ERROR, "livecheck_celery.case"):
        asyncio.run(case.on_suite_fail(SuiteFailed("no orders")))
    assert case.status is State.FAIL
    assert outcomes(case) == [(State.FAIL, "no orders")]
    assert [record.getMessage() for record in caplog.records] == [f"case {NAME}: FAIL: no orders"]


def test_run_that_is_cancelled_by_its_own_code_is_an_error(livecheck: aio.LiveCheck) -> None:
    @livecheck.case(name=NAME)
    class test_order:
        async def run(self) -> None:
            raise asyncio.CancelledError("by itself")

    case: Any = test_order
    assert case.execute_here(build(case, "o-1")).state is State.ERROR


def test_failure_by_hand_is_a_fail(livecheck: aio.LiveCheck) -> None:
    @livecheck.case(name=NAME)
    class test_order:
        async def run(self) -> None:
            raise LiveCheckTestFailed("by hand")

    case: Any = test_order
    runner = case.execute_here(build(case, "o-1"))
    assert (runner.state, runner.report.error) == (State.FAIL, "by hand")


def test_wait_outside_of_run_is_refused(case: Any) -> None:
    with pytest.raises(RuntimeError, match=r"wait\(\) works only inside run\(\)"):
        asyncio.run(case.sent.wait())


def test_many_tests_wait_on_one_loop(livecheck: aio.LiveCheck) -> None:
    @livecheck.case(name=NAME)
    class test_order:
        sent: aio.Signal[int]

        async def run(self, number: int) -> None:
            assert await self.sent.wait(timeout=30) == number

    case: Any = test_order

    async def execute() -> list[State]:
        running = [asyncio.create_task(case.execute(build(case, f"o-{n}", (n,)))) for n in range(200)]
        await asyncio.to_thread(
            wait_until, lambda: len([box for box in livecheck.runtime.inbox._open_mailboxes() if box.awaited()]) == 200
        )
        for n in range(200):
            await case.sent.resolve(f"o-{n}", SignalEvent("sent", NAME, f"o-{n}", n))
        return [runner.state for runner in await asyncio.gather(*running)]

    assert asyncio.run(execute()) == [State.PASS] * 200


@pytest.mark.parametrize("step", ["claim", "verdict"])
def test_test_that_is_cancelled_while_redis_is_asked_is_not_lost(
    livecheck: aio.LiveCheck, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    @livecheck.case(name=NAME)
    class test_order(aio.Case):
        async def run(self) -> None:
            pass

    begun, may_end = threading.Event(), threading.Event()
    executions, runtime = livecheck.runtime.store.executions, livecheck.runtime
    ask = getattr(executions, step)

    def ask_late(*args: Any, **options: Any) -> Any:
        begun.set()
        assert may_end.wait(10)
        return ask(*args, **options)

    monkeypatch.setattr(executions, step, ask_late)
    ended: list[BaseRunner] = []
    case: Any = livecheck.cases[NAME]
    case.execute_on_worker(build(case, "o-1"), ended.append)
    assert begun.wait(10)
    runtime.interruption.after(0.0)
    finishing = threading.Thread(target=runtime.async_tests.finish)
    finishing.start()
    finishing.join(0.2)
    may_end.set()
    finishing.join(10)
    [runner] = ended
    assert (runner.handed_back, runner.report is None) == ((True, True) if step == "claim" else (False, False))
    assert "lease_until" not in livecheck.runtime.store.client.hgetall(f"livecheck:{{{NAME}}}:test:o-1")
