"""Spans of executions, linked to the request that triggered them."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from livecheck_celery import (
    LiveCheck,
    LiveCheckTestSkipped,
    RedisUnavailable,
    SignalEvent,
    State,
    TestExecution,
    current_test,
)
from livecheck_celery.cases.arguments import build
from livecheck_celery.context import fake_request
from livecheck_celery.delivery.publisher import TEST_KEYWORD
from livecheck_celery.models import EXECUTION
from livecheck_celery.propagation.otel import instrument
from livecheck_celery.tasks.recovery import sweep
from tests.helpers.factories import make_gate
from tests.helpers.order_case import face_of
from tests.helpers.tracing import Spans, recording
from tests.helpers.waiting import wait_until

NAME = "livecheck shop.test_order"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recording() as spans:
        yield spans


def declare(livecheck: LiveCheck, run: Any, **options: Any) -> Any:
    face = face_of(run)
    signals = {"stored": face.Signal[int], "sold": face.Signal[str]}
    cls = type("test_order", (face.Case,), {"run": run, "__annotations__": signals})
    return livecheck.add_case(cls, name="shop.test_order", **options)


def requested(case: Any, test_id: str = "o-1") -> tuple[TestExecution, SpanContext]:
    """A test triggered by a request, and the span of that request."""
    with trace.get_tracer("shop").start_as_current_span("POST /order") as span:
        return case.trigger(test_id), span.get_span_context()


def passes(case: Any) -> None:
    assert case.stored.wait(timeout=5) == 7


def fails(case: Any) -> None:
    assert case.stored.wait(timeout=5) == 8, "the wrong amount"


def times_out(case: Any) -> None:
    case.sold.wait(timeout=0.05)


def breaks(case: Any) -> None:
    raise KeyError("price")


def skips(case: Any) -> None:
    raise LiveCheckTestSkipped("no market today")


class Outcome(NamedTuple):
    run: Callable[[Any], None]
    state: State
    result: str
    exception: str | None


OUTCOMES = [
    Outcome(passes, State.PASS, "pass", None),
    Outcome(fails, State.FAIL, "fail", "AssertionError"),
    Outcome(times_out, State.TIMEOUT, "fail", "livecheck_celery.errors.LiveCheckTestTimeout"),
    Outcome(breaks, State.ERROR, "fail", "KeyError"),
    Outcome(skips, State.SKIP, "skip", None),
]


@pytest.mark.promise("An execution is a span with its verdict, and with the exception of a failure.", theme="otel")
@pytest.mark.parametrize("outcome", OUTCOMES, ids=[outcome.state for outcome in OUTCOMES])
def test_execution_is_a_span_with_its_verdict(livecheck: LiveCheck, spans: Spans, outcome: Outcome) -> None:
    case = declare(livecheck, outcome.run)
    test, request = requested(case)
    case.stored.send(7, key="o-1", force=True)
    assert livecheck.runtime.outbox.flush()
    runner = case.execute_here(test)
    assert runner.state is outcome.state, runner.error
    [span] = spans.named(NAME)
    assert span.kind is SpanKind.INTERNAL
    assert span.parent is None, "the worker's own trace"
    assert dict(span.attributes) == {
        "test.case.name": "shop.test_order",
        "test.case.result.status": outcome.result,
        "livecheck.test.id": "o-1",
        "livecheck.test.synthetic": False,
        "livecheck.test.state": outcome.state.value,
    }
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [
        (request.trace_id, request.span_id)
    ]
    stored = span.events[0]
    assert stored.name == "stored"
    [event] = runner.arrived
    assert stored.timestamp == pytest.approx(event.received_at * 1e9, abs=1e3)
    assert stored.attributes == {"livecheck.signal.since_trigger": runner.signal_since_trigger["stored"]}
    recorded = [event.attributes["exception.type"] for event in span.events[1:]]
    if outcome.exception is None:
        assert recorded == []
        assert (span.status.status_code, span.status.description) == (StatusCode.UNSET, None)
    else:
        assert recorded == [outcome.exception]
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, runner.report.error)


def test_span_of_a_request_is_recorded_in_redis_and_in_the_message(
    livecheck: LiveCheck, spans: Spans, redis_client: redis.Redis
) -> None:
    case = declare(livecheck, passes, probability=1.0)
    with trace.get_tracer("shop").start_as_current_span("POST /order") as span, case.maybe_trigger("o-1"):
        request = span.get_span_context()
    assert livecheck.runtime.outbox.flush()
    body = base64.b64decode(json.loads(redis_client.lindex("livecheck", 0))["body"])
    sent = EXECUTION.validate_python(json.loads(body)[1][TEST_KEYWORD])
    recorded = EXECUTION.validate_json(
        redis_client.hget(livecheck.runtime.store.keys.test(case.name, "o-1"), "payload")
    )
    expected = f"00-{request.trace_id:032x}-{request.span_id:016x}-{request.trace_flags:02x}"
    assert sent.traceparent == recorded.traceparent == expected


def test_span_of_a_synthetic_test_is_marked(livecheck: LiveCheck, spans: Spans) -> None:
    case = declare(livecheck, lambda self: None)
    with fake_request(case.name):
        test = build(case, "o-1")
    case.execute_here(test)
    [span] = spans.named(NAME)
    assert span.attributes["livecheck.test.synthetic"] is True


def test_execution_triggered_outside_a_span_has_no_link(livecheck: LiveCheck, spans: Spans) -> None:
    case = declare(livecheck, lambda self: None)
    case.execute_here(build(case, "o-1"))
    [span] = spans.named(NAME)
    assert not span.links


@pytest.mark.parametrize("text", ["", "00", "00-0-0-0", f"00-{0:032x}-{0:016x}-01", "ü" * 55, "x" * 10_000])
def test_invalid_traceparent_gives_no_link(livecheck: LiveCheck, spans: Spans, text: str) -> None:
    case = declare(livecheck, lambda self: None)
    assert case.execute_here(replace(build(case, "o-1"), traceparent=text)).state is State.PASS
    [span] = spans.named(NAME)
    assert not span.links


def note_span(seen: dict[str, int]) -> None:
    test = current_test()
    assert test is not None
    seen[test.id] = trace.get_current_span().get_span_context().span_id


def by_test(spans: Spans) -> dict[Any, int]:
    return {span.attributes["livecheck.test.id"]: span.context.span_id for span in spans.named(NAME)}


@pytest.mark.promise("The span is current in `run()` on threads.", theme="otel")
def test_span_is_current_in_run_on_each_thread(livecheck: LiveCheck, spans: Spans) -> None:
    together = threading.Barrier(4)
    seen: dict[str, int] = {}

    def run(self: Any) -> None:
        together.wait(10)
        note_span(seen)
        together.wait(10)

    case = declare(livecheck, run)
    with ThreadPoolExecutor(4) as pool:
        runners = list(pool.map(lambda n: case.execute_here(build(case, str(n))), range(4)))
    assert [runner.state for runner in runners] == [State.PASS] * 4, [runner.error for runner in runners]
    assert len(seen) == 4
    assert seen == by_test(spans)
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.promise("The span is current in `run()` in coroutines.", theme="otel")
def test_span_is_current_in_each_coroutine(livecheck: LiveCheck, spans: Spans) -> None:
    together = 4
    all_arrived = asyncio.Barrier(together)
    seen: dict[str, int] = {}

    async def run(self: Any) -> None:
        async with asyncio.timeout(10):
            await all_arrived.wait()
            note_span(seen)
            await all_arrived.wait()

    case = declare(livecheck, run)
    with ThreadPoolExecutor(together) as pool:
        runners = list(pool.map(lambda n: case.execute_here(build(case, str(n))), range(together)))
    assert [runner.state for runner in runners] == [State.PASS] * together, [runner.error for runner in runners]
    assert len(seen) == together
    assert seen == by_test(spans)


def test_execution_span_is_a_child_of_the_worker_and_the_parent_of_run(livecheck: LiveCheck, spans: Spans) -> None:
    def run(self: Any) -> None:
        with trace.get_tracer("shop").start_as_current_span("look"):
            pass

    case = declare(livecheck, run)
    with trace.get_tracer("shop").start_as_current_span("run/livecheck.execute") as task:
        case.execute_here(build(case, "o-1"))
    [execution], [look] = spans.named(NAME), spans.named("look")
    assert execution.parent.span_id == task.get_span_context().span_id
    assert look.parent.span_id == execution.context.span_id


def test_execution_span_sends_no_automatic_signal(livecheck: LiveCheck, spans: Spans) -> None:
    finished: list[dict[str, Any]] = []
    undo = instrument(make_gate(finished=finished))

    def run(self: Any) -> None:
        with trace.get_tracer("shop").start_as_current_span("look"):
            pass

    case = declare(livecheck, run)
    case.execute_here(build(case, "o-1"))
    undo()
    assert [operation["name"] for operation in finished] == ["look"]


# -- executions that end without a verdict of their own


def result_of(span: ReadableSpan) -> tuple[Any, StatusCode]:
    return span.attributes.get("test.case.result.status"), span.status.status_code


def test_span_of_a_system_exit_is_a_failure(livecheck: LiveCheck, spans: Spans) -> None:
    def run(self: Any) -> None:
        raise SystemExit(3)

    case = declare(livecheck, run)
    case.execute_here(build(case, "o-1"))
    [span] = spans.named(NAME)
    assert result_of(span) == ("fail", StatusCode.ERROR)


def test_verdict_of_the_sweep_has_a_span(livecheck: LiveCheck, spans: Spans) -> None:
    case = declare(livecheck, lambda self: None, test_expires=0.05)
    _, request = requested(case)
    wait_until(lambda: livecheck.runtime.store.executions.due(case.name, 10), what="the test has expired")
    sweep(case)
    [span] = spans.named(NAME)
    assert result_of(span) == ("skip", StatusCode.UNSET)
    assert [link.context.span_id for link in span.links] == [request.span_id]


@pytest.mark.promise("A verdict that was refused is not on a span.", theme="otel")
def test_refused_verdict_is_not_on_the_span(livecheck: LiveCheck, spans: Spans) -> None:
    def run(self: Any) -> None:
        wait_until(lambda: self.total_by_state[State.TIMEOUT], what="the sweep's verdict")

    case = declare(livecheck, run, test_expires=0.2)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, build(case, "o-1"))
        wait_until(lambda: livecheck.runtime.store.executions.due(case.name, 10), what="the test has expired")
        sweep(case)
        assert future.result(10).state is State.PASS
    span_of_sweep, span_of_run = spans.named(NAME)
    assert result_of(span_of_sweep) == ("fail", StatusCode.ERROR)
    assert result_of(span_of_run) == (None, StatusCode.UNSET)


def test_span_of_a_handed_back_test_has_no_result(livecheck: LiveCheck, spans: Spans) -> None:
    waiting = threading.Event()

    def run(self: Any) -> None:
        waiting.set()
        self.sold.wait(timeout=30)

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, build(case, "o-1"))
        assert waiting.wait(10)
        livecheck.runtime.inbox.stop()
        assert future.result(10).handed_back
    [span] = spans.named(NAME)
    assert result_of(span) == (None, StatusCode.UNSET)
    assert not span.events


def test_span_of_an_unwritten_verdict_is_an_error_without_result(
    livecheck: LiveCheck, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RedisUnavailable("Redis is unavailable")

    monkeypatch.setattr(livecheck.runtime.store.executions, "verdict", fail)
    case = declare(livecheck, lambda self: livecheck.runtime.interruption.after(0))  # no retries from then on
    with pytest.raises(RedisUnavailable):
        case.execute_here(build(case, "o-1"))
    [span] = spans.named(NAME)
    assert result_of(span) == (None, StatusCode.ERROR)
    assert span.status.description == "Redis is unavailable"


class Broken(SpanProcessor):
    def __init__(self, method: str) -> None:
        setattr(self, method, self.fail)

    def fail(self, *_: Any, **__: Any) -> None:
        raise OSError("the collector failed")


@pytest.mark.promise("Tracing that fails changes no verdict.", theme="otel")
@pytest.mark.parametrize("method", ["on_start", "on_end"])
def test_failing_span_processor_changes_no_verdict(livecheck: LiveCheck, spans: Spans, method: str) -> None:
    spans.provider.add_span_processor(Broken(method))
    case = declare(livecheck, fails)
    case.stored.resolve("o-1", SignalEvent("stored", case.name, "o-1", 7))
    runner = case.execute_here(build(case, "o-1"))
    assert (runner.state, runner.report.error[:16]) == (State.FAIL, "the wrong amount")
    assert not trace.get_current_span().get_span_context().is_valid


# -- without a tracer provider


def test_execution_works_without_a_tracer_provider(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        assert not trace.get_current_span().is_recording()

    case = declare(livecheck, run)
    test, _ = requested(case)
    assert test.traceparent is None
    runner = case.execute_here(test)
    assert runner.state is State.PASS, runner.error
