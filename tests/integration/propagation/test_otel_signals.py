"""A test that travels only as baggage, to a service that sends signals only by its spans."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from celery import Celery
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from livecheck_celery import Case, LiveCheck, Signal, State
from livecheck_celery.cases.arguments import build
from livecheck_celery.context import under_test
from livecheck_celery.integrations.celery import install
from tests.helpers.http_server import KEY
from tests.helpers.tracing import Spans, recording


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recording() as spans:
        yield spans


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order")
    class test_order(Case):
        charged: Signal[dict[str, Any]] = Signal.from_span("charge")

        def run(self) -> None:
            assert self.charged.wait(timeout=10) == {"currency": "EUR", "amounts": [3, 4]}

    livecheck.runtime.store.registry.register(test_order.name, test_order.describe())
    return test_order


@pytest.fixture
def bank(redis_url: str, spans: Spans) -> Iterator[LiveCheck]:
    """Another service, without the case."""
    bank = install(
        Celery("bank", broker=redis_url, set_as_current=False), secret_key=KEY, allow_sources=["span:charge"]
    )
    bank.instrument("otel")
    yield bank
    bank.close()


def charge(status: StatusCode | None = None) -> None:
    with trace.get_tracer("bank").start_as_current_span("charge", attributes={"amounts": [3, 4]}) as span:
        span.set_attribute("currency", "EUR")
        if status is not None:
            span.set_status(status, "the card has expired")


def get(app: Any, headers: dict[str, str]) -> None:
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    environ.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
    list(app(environ, lambda *_: lambda _: None))


def test_baggage_carries_the_test_and_a_span_sends_its_signal(livecheck: LiveCheck, case: Any, bank: LiveCheck) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        charge()
        return []

    livecheck.instrument("otel")
    test = build(case, "o-1")
    headers: dict[str, str] = {}
    tracer, url = trace.get_tracer("shop"), {"url.full": "http://localhost/charge"}
    with under_test(test), tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes=url):
        propagate.inject(headers)
    livecheck.uninstrument("otel")
    assert list(headers) == ["traceparent", "baggage"]
    get(bank.wsgi(app), headers)
    assert bank.runtime.outbox.flush()
    runner = case.execute_here(test)
    assert runner.state is State.PASS, runner.error


def test_failed_span_fails_the_waiting_test(case: Any, bank: LiveCheck) -> None:
    test = build(case, "o-1")
    with under_test(test):
        charge(StatusCode.ERROR)
    assert bank.runtime.outbox.flush()
    runner = case.execute_here(test)
    assert (runner.state, str(runner.error)) == (State.FAIL, "span charge: the card has expired")
