"""Executions as OpenTelemetry spans, linked to the spans they were requested in.

Only in a process that uses OpenTelemetry, which has then imported ``opentelemetry.trace`` already: nothing is imported
for the sake of a process that does not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from livecheck_celery.models import State
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span

    from livecheck_celery.execution.runner import TestRunner

logger = get_logger(__name__)

_TRACE: Final = "opentelemetry.trace"
_NANOSECONDS: Final = 1_000_000_000

# The semantic conventions have "pass" and "fail", each to be used where it applies, and allow others where none does.
# A test that timed out or broke did not pass, and who counts failures must find it; one that was skipped did neither.
_RESULTS: Final = {
    State.PASS: "pass",
    State.FAIL: "fail",
    State.ERROR: "fail",
    State.TIMEOUT: "fail",
    State.SKIP: "skip",
}


@contextmanager
def traced(runner: TestRunner) -> Iterator[None]:
    """Have a span around the block in which ``runner`` comes to its verdict; it cannot change what that is."""
    span = _start(runner)
    if span is None:
        yield
        return
    from opentelemetry import context, trace  # noqa: PLC0415 - see above

    token = context.attach(trace.set_span_in_context(span))
    raised: BaseException | None = None
    try:
        yield
    except BaseException as exc:
        raised = exc
        raise
    finally:
        context.detach(token)
        _end(span, runner, raised)


def _start(runner: TestRunner) -> Span | None:
    if _TRACE not in sys.modules:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - see above

    test = runner.test
    attributes: dict[str, str | bool] = {
        "test.case.name": runner.case.name,
        "livecheck.test.id": test.id,
        "livecheck.test.synthetic": test.synthetic,
    }
    try:
        tracer = trace.get_tracer("livecheck_celery")
        return tracer.start_span(f"livecheck {runner.case.name}", attributes=attributes, links=_links(test.traceparent))
    except Exception:
        logger.exception("%s: OpenTelemetry could not start a span; the test goes on", test.ident)
        return None


def _links(parent: str | None) -> list[Link]:
    from opentelemetry import trace  # noqa: PLC0415 - see above
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    found = TraceContextTextMapPropagator().extract({"traceparent": parent or ""}, Context())
    requested_in = trace.get_current_span(found).get_span_context()
    return [trace.Link(requested_in)] if requested_in.is_valid else []


def _end(span: Span, runner: TestRunner, raised: BaseException | None) -> None:
    try:
        if span.is_recording():
            _describe(span, runner, raised)
        span.end()
    except Exception:
        logger.exception("%s: OpenTelemetry could not end a span; the verdict stands", runner.test.ident)


def _describe(span: Span, runner: TestRunner, raised: BaseException | None) -> None:
    arrived = runner.arrived
    since_trigger = runner.signal_since_trigger
    for event in arrived:
        at = None if event.received_at is None else int(event.received_at * _NANOSECONDS)
        span.add_event(event.signal_name, {"livecheck.signal.since_trigger": since_trigger[event.signal_name]}, at)
    report = runner.report
    if report is not None:
        span.set_attribute("test.case.result.status", _RESULTS[report.state])
        span.set_attribute("livecheck.test.state", report.state.value)
        if not report.state.is_ok():
            _fail(span, runner.error, report.error)
    elif isinstance(raised, Exception):  # not Interrupted: that only means that another worker is to run the test
        _fail(span, raised, str(raised))


def _fail(span: Span, error: BaseException | None, description: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - see above

    if error is not None:
        span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, description))
