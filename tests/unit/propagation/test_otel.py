"""Spans that end in a test are told of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode, Tracer

from livecheck_celery.context import triggered_var, under_test
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
def happened(spans: Spans) -> list[dict[str, Any]]:
    happened: list[dict[str, Any]] = []
    instrument(make_gate(happened=happened))
    return happened


@pytest.fixture
def tracer(spans: Spans) -> Tracer:
    return trace.get_tracer("shop")


@pytest.fixture
def triggered() -> Iterator[list[Any]]:
    triggered: list[Any] = []
    token = triggered_var.set(triggered)
    yield triggered
    triggered_var.reset(token)


@pytest.mark.promise(
    "`Signal.from_span` is sent, with the attributes, when an OpenTelemetry span of a test ends.",
    theme="signals",
)
def test_a_span_that_ends_in_a_test_is_told_of_with_its_attributes(tracer: Tracer, happened: list[Any]) -> None:
    with under_test(TEST), tracer.start_as_current_span("book", attributes={"side": "buy"}) as span:
        span.set_attribute("amount", 3)
        assert happened == []
    assert happened == [{"kind": "span", "name": "book", "tests": [TEST], "value": {"side": "buy", "amount": 3}}]


def test_a_span_without_attributes_has_an_empty_value(tracer: Tracer, happened: list[Any]) -> None:
    with under_test(TEST):
        tracer.start_span("book").end()
    assert [told["value"] for told in happened] == [{}]


@pytest.mark.promise("Spans that end outside a test send nothing.", theme="signals")
def test_outside_a_test_nothing_is_told(tracer: Tracer, happened: list[Any], triggered: list[Any]) -> None:
    with tracer.start_as_current_span("book"), under_test(TEST):
        pass
    assert happened == []


def test_the_tests_that_a_request_triggered_are_told_of_its_own_span(
    tracer: Tracer, happened: list[Any], triggered: list[Any]
) -> None:
    with tracer.start_as_current_span("POST /order"):
        triggered.append(TEST)
    assert [told["tests"] for told in happened] == [[TEST]]


def test_each_test_is_told_once(tracer: Tracer, happened: list[Any], triggered: list[Any]) -> None:
    triggered.append(TEST)
    for current in (TEST, OTHER):
        with under_test(current):
            tracer.start_span("book").end()
    assert [told["tests"] for told in happened] == [[TEST], [OTHER, TEST]]
    assert triggered == [TEST]


def test_a_span_that_failed_says_why(tracer: Tracer, happened: list[Any]) -> None:
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
    assert [told.get("error") for told in happened] == [
        "span raised: KeyError: 'price'",
        "span described: no price",
        "span recorded: KeyError: 'price'",
        "span silent: ended with status ERROR",
        None,
    ]


def test_telling_that_goes_wrong_is_not_the_programs_concern(
    spans: Spans, tracer: Tracer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no Redis")

    instrument(Gate((), (), lambda _: None, fail, lambda: None))
    with under_test(TEST), tracer.start_as_current_span("book"):
        pass
    assert len(spans.named("book")) == 1
    assert [record.getMessage() for record in caplog.records] == ["span book could not be told of; the request goes on"]


def test_undone_nothing_is_told(spans: Spans, tracer: Tracer) -> None:
    happened: list[dict[str, Any]] = []
    undo = instrument(make_gate(happened=happened))
    undo()
    with under_test(TEST):
        tracer.start_span("book").end()
    assert happened == []
    assert len(spans.named("book")) == 1
    instrument(make_gate(happened=happened))
    with under_test(TEST):
        tracer.start_span("book").end()
    assert len(happened) == 1


def test_without_a_provider_that_takes_processors_it_is_said(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    undo = instrument(make_gate())
    undo()
    assert [record.getMessage() for record in caplog.records] == [
        "OpenTelemetry: the tracer provider takes no span processors; no signal can come from a span"
    ]
