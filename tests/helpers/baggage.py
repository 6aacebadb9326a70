"""A test as LiveCheck's entry in the W3C baggage, and the headers that OpenTelemetry's propagators send."""

from __future__ import annotations

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from livecheck_celery.models import HEADER_EXPIRES
from livecheck_celery.propagation import baggage
from tests.helpers.factories import make_test
from tests.helpers.signing import sign

TEST = make_test("order-1")
SIGNED = sign(TEST.as_headers(), ("key",))
PACKED = baggage.pack(SIGNED)
ENTRY = f"livecheck-test={PACKED}"
EXPIRED = sign(TEST.as_headers() | {HEADER_EXPIRES: "2020-01-01T00:00:00+00:00"}, ("key",))


def injected(context: Context | None = None, kind: SpanKind = SpanKind.CLIENT, **attributes: str) -> dict[str, str]:
    """Return the headers that a client instrumented by OpenTelemetry adds to a request, by default to the host shop."""
    names = {name.replace("_", "."): value for name, value in (attributes or {"url_full": "http://shop/"}).items()}
    headers: dict[str, str] = {}
    with trace.get_tracer("shop").start_as_current_span("GET", context, kind, attributes=names) as span:
        propagate.inject(headers, trace.set_span_in_context(span, context))
    headers.pop("traceparent", None)
    return headers
