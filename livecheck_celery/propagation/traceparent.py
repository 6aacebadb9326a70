"""The current OpenTelemetry span as W3C Trace Context; never imports OpenTelemetry."""

from __future__ import annotations

import sys


def traceparent() -> str | None:
    """Return the current span as a W3C ``traceparent`` value; None outside a span.

    A process that uses OpenTelemetry has already imported ``opentelemetry.trace``; in any other there is no span.
    """
    module = sys.modules.get("opentelemetry.trace")
    # While another thread is importing the module, it can lack the function.
    get_current_span = None if module is None else getattr(module, "get_current_span", None)
    if get_current_span is None:
        return None
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
