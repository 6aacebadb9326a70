"""The current span as a W3C traceparent."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from livecheck_celery.propagation.traceparent import traceparent
from tests.helpers.tracing import recording


def test_traceparent_is_none_outside_a_span() -> None:
    assert traceparent() is None
    with recording():
        assert traceparent() is None


@pytest.mark.parametrize("sampler", [sampling.ALWAYS_ON, sampling.ALWAYS_OFF])
def test_traceparent_is_the_one_that_w3c_propagates(sampler: sampling.Sampler) -> None:
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    with provider.get_tracer("shop").start_as_current_span("POST /order"):
        expected: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(expected)
        assert traceparent() == expected["traceparent"]
    assert traceparent() is None


@pytest.mark.parametrize("module", [None, ModuleType("opentelemetry.trace")], ids=["not imported", "half imported"])
def test_traceparent_is_none_in_a_process_without_opentelemetry(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None
) -> None:
    with TracerProvider(shutdown_on_exit=False).get_tracer("shop").start_as_current_span("POST /order"):
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
        if module is not None:
            monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
        assert traceparent() is None
        assert ("opentelemetry.trace" in sys.modules) == (module is not None)
