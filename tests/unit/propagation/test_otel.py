"""OpenTelemetry spans that end in a test are reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode, Tracer

from livecheck_celery.blocks import Work
from livecheck_celery.context import under_test
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.otel import instrument
from tests.helpers.factories import make_gate, make_test
from tests.helpers.tracing import Spans, recording

TEST = make_test("order-1")
OTHER = make_test("order-2")


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recording() as spans:
        yield spans


@pytest.fixture
def finished(spans: Spans) -> list[dict[str, Any]]:
    finished: list[dict[str, Any]] = []
    instrument(make_gate(finished=finished))
    return finished


@pytest.fixture
def tracer(spans: Spans) -> Tracer:
    return trace.get_tracer("shop")


@pytest.fixture
def work() -> Iterator[Work]:
    with Work() as work:
        yield work


def test_span_ending_in_a_test_is_reported_with_its_attributes(tracer: Tracer, finished: list[Any]) -> None:
    with under_test(TEST), tracer.start_as_current_span("book", attributes={"side": "buy"}) as span:
        span.set_attribute("amount", 3)
        assert finished == []
    assert finished == [{"kind": "span", "name": "book", "tests": [TEST], "value": {"side": "buy", "amount": 3}}]


def test_span_without_attributes_has_an_empty_value(tracer: Tracer, finished: list[Any]) -> None:
    with under_test(TEST):
        tracer.start_span("book").end()
    assert [each["value"] for each in finished] == [{}]


def test_span_ending_outside_a_test_is_not_reported(tracer: Tracer, finished: list[Any], work: Work) -> None:
    with tracer.start_as_current_span("book"), under_test(TEST):
        pass
    assert finished == []


def test_span_of_a_request_is_reported_to_tests_triggered_in_it(
    tracer: Tracer, finished: list[Any], work: Work
) -> None:
    with tracer.start_as_current_span("POST /order"):
        work.collect(TEST, lingers=True)
    assert [each["tests"] for each in finished] == [[TEST]]


def test_span_is_reported_once_to_each_test(tracer: Tracer, finished: list[Any], work: Work) -> None:
    span = tracer.start_span("book")
    for number in (1, 2):
        with under_test(make_test(str(number))) as test:
            work.collect(test, lingers=True)
            tracer.start_span("store").end()
    span.end()
    with under_test(make_test("3", "shop.another")):
        tracer.start_span("index").end()
    assert [(each["name"], [test.id for test in each["tests"]]) for each in finished] == [
        ("store", ["1"]),
        ("store", ["2"]),  # not 1: it began in the block of another order
        ("book", ["1", "2"]),
        ("index", ["3", "1", "2"]),
    ]


def test_failed_span_is_reported_with_its_error(tracer: Tracer, finished: list[Any]) -> None:
    with under_test(TEST):
        with pytest.raises(KeyError), tracer.start_as_current_span("raised"):
            raise KeyError("price")
        with tracer.start_as_current_span("described") as span:
            span.record_exception(KeyError("price"))
            span.set_status(StatusCode.ERROR, "no price")
        with tracer.start_as_current_span("recorded") as span:
            span.record_exception(KeyError("first"))
            span.record_exception(KeyError("price"))
            span.set_status(StatusCode.ERROR)
        with tracer.start_as_current_span("silent") as span:
            span.set_status(StatusCode.ERROR)
        with tracer.start_as_current_span("recovered") as span:
            span.record_exception(KeyError("price"))
    assert [each.get("error") for each in finished] == [
        "span raised: KeyError: 'price'",
        "span described: no price",
        "span recorded: KeyError: 'price'",
        "span silent: ended with status ERROR",
        None,
    ]


def test_error_in_reporting_a_span_is_logged_and_not_raised(
    spans: Spans, tracer: Tracer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no Redis")

    gate = Gate(None, count_ignored=lambda _: None, operation_finished=fail, on_request=lambda: None)
    instrument(gate)
    with under_test(TEST), tracer.start_as_current_span("book"):
        pass
    assert len(spans.named("book")) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "opentelemetry: failed to record span book; continuing"
    ]


def test_no_span_is_reported_after_undo(spans: Spans, tracer: Tracer) -> None:
    finished: list[dict[str, Any]] = []
    undo = instrument(make_gate(finished=finished))
    undo()
    with under_test(TEST):
        tracer.start_span("book").end()
    assert finished == []
    assert len(spans.named("book")) == 1
    instrument(make_gate(finished=finished))
    with under_test(TEST):
        tracer.start_span("book").end()
    assert len(finished) == 1


def test_provider_without_span_processors_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert trace._TRACER_PROVIDER is None
    undo = instrument(make_gate())
    undo()
    assert [record.getMessage() for record in caplog.records] == [
        "opentelemetry: the tracer provider accepts no span processors; spans send no signals"
    ]
