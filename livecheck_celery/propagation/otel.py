"""OpenTelemetry: the current test travels in the W3C baggage, and spans that end in a test are told of.

Needs the extra ``otel``. How an execution is a span itself is in `spans`, which does not.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote_plus

from opentelemetry import trace
from opentelemetry.baggage import get_all, remove_baggage, set_baggage
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from livecheck_celery.context import tests_here
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)


def instrument(gate: Gate) -> Callable[[], None]:
    """Have the current test travel wherever this process propagates baggage, and tell ``gate`` of spans that end.

    To be called once the process has set its tracer provider and its propagators. OpenTelemetry propagates to every
    host that is called, whatever hosts ``gate`` lists.

    Returns:
        What undoes it.
    """
    propagator = _TestPropagator(get_global_textmap(), gate)
    set_global_textmap(propagator)
    spans = _SpansInTests(gate)
    # By name: others than the SDK's own provider take processors too.
    add_span_processor = getattr(trace.get_tracer_provider(), "add_span_processor", None)
    if add_span_processor is not None:
        add_span_processor(spans)
    else:
        logger.warning("OpenTelemetry: the tracer provider takes no span processors; no signal can come from a span")

    def undo() -> None:
        # Neither can be taken out for sure: providers keep processors, and others may have wrapped the propagator.
        propagator.gate = spans.gate = None
        top = get_global_textmap()
        while isinstance(top, _TestPropagator) and top.gate is None:
            top = top.inner
        set_global_textmap(top)

    return undo


class _TestPropagator(TextMapPropagator):
    """Shows another propagator the current test as part of the baggage.

    A propagator added after the other could only write the header anew, and lose what is in it.
    """

    def __init__(self, inner: TextMapPropagator, gate: Gate | None) -> None:
        self.inner = inner
        self.gate = gate

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        return self.inner.extract(carrier, context, getter=getter)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        headers = {} if self.gate is None else self.gate.headers()
        if headers:
            context = _with_entry(baggage.pack(headers), context)
        self.inner.inject(carrier, context, setter=setter)

    @property
    def fields(self) -> set[str]:
        return self.inner.fields


def _with_entry(value: str, context: Context | None) -> Context | None:
    """``context`` with LiveCheck's entry; without any when it does not fit beside what others have put there."""
    others = remove_baggage(baggage.ENTRY, context)
    sizes = [_size(name, str(other)) for name, other in get_all(others).items()]
    size = _size(baggage.ENTRY, value)
    fits = size <= baggage.MAX_ENTRY and len(sizes) < baggage.MAX_ENTRIES
    if not fits or sum(sizes) + len(sizes) + size > baggage.MAX_HEADER:
        return others
    return set_baggage(baggage.ENTRY, value, others)


def _size(name: str, value: str) -> int:
    return len(quote_plus(name)) + len("=") + len(quote_plus(value))


class _SpansInTests(SpanProcessor):
    """Tells of each span that ends in a test."""

    def __init__(self, gate: Gate | None) -> None:
        self.gate = gate

    def on_end(self, span: ReadableSpan) -> None:
        gate = self.gate
        tests = [] if gate is None else tests_here()
        if gate is None or not tests:
            return
        try:
            gate.ended(span.name, tests, dict(span.attributes or {}), _error_of(span))
        except Exception:
            logger.exception("span %s could not be told of; the request goes on", span.name)


def _error_of(span: ReadableSpan) -> str | None:
    """What went wrong in ``span``, if its status says that something did."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    if span.status.description:
        return span.status.description
    for event in reversed(span.events):
        if event.name == "exception" and event.attributes:
            return f"{event.attributes.get('exception.type')}: {event.attributes.get('exception.message')}"
    return "ended with status ERROR"
