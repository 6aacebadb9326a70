"""Propagation over OpenTelemetry's baggage; also reports the spans that end in a test.

Imports OpenTelemetry, which the extra ``otel`` installs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from importlib import import_module
from typing import Final
from urllib.parse import quote_plus, urlsplit

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
from opentelemetry.trace import SpanKind, StatusCode

from livecheck_celery.context import operation_tests
from livecheck_celery.guard import GUARD
from livecheck_celery.models import HEADER_OUTER
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.clients.registry import is_installed
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: Attributes of a client's span, of the current and the earlier semantic conventions: the URL, and the host.
_URLS: Final = ("url.full", "http.url")
_HOSTS: Final = ("server.address", "net.peer.name")
#: Clients that copy the baggage of a request to all hops of a redirect, and OpenTelemetry's modules for them.
_COPY_BAGGAGE: Final = {
    "aiohttp": "opentelemetry.instrumentation.aiohttp_client",
    "requests": "opentelemetry.instrumentation.requests",
}
_CLIENTS: Final = "livecheck_celery.propagation.clients"


def instrument(gate: Gate) -> Callable[[], None]:
    """Add the current test to the baggage this process propagates, and report finished spans to ``gate``.

    Call it after the process has set its tracer provider and its propagators. Requests to hosts that ``gate`` does not
    list, or whose host the client's span does not name, carry neither the current test nor a received one.

    Returns:
        A function that reverts this.
    """
    propagator = _TestPropagator(get_global_textmap(), gate)
    set_global_textmap(propagator)
    processor = _TestSpanProcessor(gate)
    # By name, because tracer providers other than the SDK's accept span processors too.
    add_span_processor = getattr(trace.get_tracer_provider(), "add_span_processor", None)
    if add_span_processor is not None:
        add_span_processor(processor)
    else:
        logger.warning("opentelemetry: the tracer provider accepts no span processors; spans send no signals")
    release = [import_module(module).withhold_baggage(gate) for module in _copying_clients()]

    def undo() -> None:
        # Disabled, not only removed: a provider keeps its processors, and others may have wrapped the propagator.
        propagator.gate = processor.gate = None
        top = get_global_textmap()
        while isinstance(top, _TestPropagator) and top.gate is None:
            top = top.inner
        set_global_textmap(top)
        for undo_client in release:
            undo_client()

    return undo


def _copying_clients() -> list[str]:
    """Return LiveCheck's modules for the clients that copy the baggage, and that OpenTelemetry can instrument."""
    return [f"{_CLIENTS}.{name}" for name, tracing in _COPY_BAGGAGE.items() if is_installed(tracing)]


class _TestPropagator(TextMapPropagator):
    """Wraps another propagator, and adds the current test to the baggage that it injects.

    A separate propagator would overwrite the baggage header.
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
        if (gate := self.gate) is not None:
            received, context = context, remove_baggage(baggage.OUTER_ENTRY, remove_baggage(baggage.ENTRY, context))
            with GUARD("baggage", "opentelemetry: failed to add the test to the baggage; continuing"):
                if isinstance(carrier, MutableMapping):  # a client can have copied them, such as httpx for a redirect
                    baggage.remove_entries(carrier)
                if gate.lists(_host_in(received)):
                    context = _with_entries(gate.headers(), received)
        self.inner.inject(carrier, context, setter=setter)

    @property
    def fields(self) -> set[str]:
        return self.inner.fields


def _with_entries(headers: Mapping[str, str], received: Context | None) -> Context | None:
    """Return ``received`` with the entries of signed ``headers``; unchanged without headers."""
    if not headers:
        return received
    context = _with_entry(baggage.ENTRY, baggage.pack(headers), received)
    return _with_entry(baggage.OUTER_ENTRY, headers.get(HEADER_OUTER), context)


def _host_in(context: Context | None) -> str | None:
    """Return the host to which the client's span in ``context`` sends a request; None if it is not known.

    A span that is not sampled does not know it.
    """
    span = trace.get_current_span(context)
    if getattr(span, "kind", None) is not SpanKind.CLIENT:
        return None  # the host in a server's span is its own
    attributes = getattr(span, "attributes", None) or {}
    for name in _URLS:
        if isinstance(url := attributes.get(name), str):
            return urlsplit(url).hostname
    return next((host for name in _HOSTS if isinstance(host := attributes.get(name), str)), None)


def _with_entry(name: str, value: str | None, context: Context | None) -> Context | None:
    """Return ``context`` with one of LiveCheck's entries, or without it if it exceeds the limits beside the others."""
    others = remove_baggage(name, context)
    if value is None:
        return others
    sizes = [_size(other, str(text)) for other, text in get_all(others).items()]
    size = _size(name, value)
    fits = size <= baggage.MAX_ENTRY and len(sizes) < baggage.MAX_ENTRIES
    if not fits or sum(sizes) + len(sizes) + size > baggage.MAX_HEADER:
        return others
    return set_baggage(name, value, others)


def _size(name: str, value: str) -> int:
    return len(quote_plus(name)) + len("=") + len(quote_plus(value))


class _TestSpanProcessor(SpanProcessor):
    """Reports each span that ends in a test."""

    def __init__(self, gate: Gate | None) -> None:
        self.gate = gate

    def on_end(self, span: ReadableSpan) -> None:
        gate = self.gate
        tests = [] if gate is None else operation_tests(_began(span))
        if gate is None or not tests:
            return
        with GUARD("span", "opentelemetry: failed to record span %s; continuing", span.name):
            gate.span_finished(span.name, tests, dict(span.attributes or {}), _error_of(span))


def _began(span: ReadableSpan) -> float:
    """Return the time at which ``span`` began, in seconds since the epoch, as precisely as a test has its own."""
    return (span.start_time or 0) // 1000 / 1_000_000


def _error_of(span: ReadableSpan) -> str | None:
    """Describe the error of ``span``; None unless its status is ERROR."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    if span.status.description:
        return span.status.description
    for event in reversed(span.events):
        if event.name == "exception" and event.attributes:
            return f"{event.attributes.get('exception.type')}: {event.attributes.get('exception.message')}"
    return "ended with status ERROR"
