"""A test notes the span it was triggered in, where there is one, and OpenTelemetry is asked for by nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import gevent
import pytest
from celery import Celery
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from livecheck_celery import Case, LiveCheck
from livecheck_celery.cases.arguments import build
from livecheck_celery.execution.spans import traced
from livecheck_celery.models import EXECUTION, State
from livecheck_celery.propagation.traceparent import traceparent
from tests.helpers.factories import make_test
from tests.helpers.tracing import recording


def test_outside_a_span_there_is_none() -> None:
    assert traceparent() is None
    with recording():
        assert traceparent() is None


@pytest.mark.parametrize("sampler", [sampling.ALWAYS_ON, sampling.ALWAYS_OFF])
def test_in_a_span_it_is_what_w3c_propagates(sampler: sampling.Sampler) -> None:
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    with provider.get_tracer("shop").start_as_current_span("POST /order"):
        expected: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(expected)
        assert traceparent() == expected["traceparent"]
    assert traceparent() is None


@pytest.mark.parametrize("module", [None, ModuleType("opentelemetry.trace")], ids=["not imported", "half imported"])
def test_a_process_that_does_not_use_opentelemetry_has_none(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None
) -> None:
    with TracerProvider(shutdown_on_exit=False).get_tracer("shop").start_as_current_span("POST /order"):
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
        if module is not None:
            monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
        assert traceparent() is None
        assert ("opentelemetry.trace" in sys.modules) == (module is not None)


def test_a_test_knows_the_span_it_is_triggered_in() -> None:
    app = Celery("shop", broker="redis://nowhere:6379/0", set_as_current=False)
    case = LiveCheck(app).add_case(Case, name="shop.test_order")
    assert build(case).traceparent is None
    with TracerProvider(shutdown_on_exit=False).get_tracer("shop").start_as_current_span("POST /order"):
        assert build(case).traceparent == traceparent() is not None


def test_the_parent_stays_out_of_headers() -> None:
    test = make_test(traceparent="00-1-2-01")
    assert test.as_headers() == make_test(timestamp=test.timestamp, expires=test.expires).as_headers()


def test_executions_of_other_versions_can_be_read() -> None:
    test = make_test(traceparent="00-1-2-01")
    text = EXECUTION.dump_json(test)
    assert EXECUTION.validate_json(text) == test
    older = json.loads(text)
    del older["traceparent"]
    assert EXECUTION.validate_python(older).traceparent is None
    assert EXECUTION.validate_python(older | {"something_newer": 1}).id == test.id


def test_importing_the_package_imports_no_opentelemetry() -> None:
    # Others may: redis-py does where it is installed.
    code = (
        "import builtins\n"
        "original, wanted = builtins.__import__, []\n"
        "def watch(name, globals=None, *rest):\n"
        "    importer = (globals or {}).get('__name__', '')\n"
        "    if name.startswith('opentelemetry') and importer.startswith('livecheck_celery'):\n"
        "        wanted.append((importer, name))\n"
        "    return original(name, globals, *rest)\n"
        "builtins.__import__ = watch\n"
        "import livecheck_celery.worker, livecheck_celery.execution.spans, livecheck_celery.propagation.baggage\n"
        "assert wanted == [], wanted\n"
        "import livecheck_celery.propagation.otel\n"
        "assert wanted\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def runner_of(test_id: str) -> Any:
    report = SimpleNamespace(state=State.PASS, error=None)
    return SimpleNamespace(
        case=SimpleNamespace(name="o"), test=make_test(test_id), report=report, arrived=[], signal_since_trigger={}
    )


def test_greenlets_keep_to_their_own_span() -> None:
    seen: dict[str, list[int]] = {}

    def execute(test_id: str) -> None:
        with traced(runner_of(test_id)):
            for _ in range(3):
                gevent.sleep(0)
                seen.setdefault(test_id, []).append(trace.get_current_span().get_span_context().span_id)

    with recording() as spans:
        gevent.joinall([gevent.spawn(execute, str(number)) for number in range(5)], raise_error=True)
    expected = {str(s.attributes["livecheck.test.id"]): [s.context.span_id] * 3 for s in spans.named("livecheck o")}
    assert len(expected) == 5
    assert seen == expected
