"""OpenTelemetry for one test: records its spans, and restores the global state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Spans:
    """The finished spans of a tracer provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def stop(self) -> None:
        """Keep no more spans."""
        self._exporter.shutdown()


@contextmanager
def recording() -> Iterator[Spans]:
    """Set a tracer provider for the block, and restore the provider and the propagators after it.

    Uses a private attribute, because OpenTelemetry allows a process to set its provider only once. The provider is not
    shut down: tracers that the block has made keep it, and would log a warning for each span of a later test. Its spans
    are no longer kept, so that they do not count as memory of a later test.
    """
    provider = TracerProvider(shutdown_on_exit=False)
    propagator, before = propagate.get_global_textmap(), trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    spans = Spans(provider)
    try:
        yield spans
    finally:
        spans.stop()
        trace._TRACER_PROVIDER = before
        propagate.set_global_textmap(propagator)
