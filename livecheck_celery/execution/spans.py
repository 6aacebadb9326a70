"""Executions as OpenTelemetry spans, linked to the spans in which they were triggered.

Spans are created only in a process that has already imported ``opentelemetry.trace``; other processes import nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from livecheck_celery.execution.running import RunningTest
from livecheck_celery.models import State
from livecheck_celery.utils.sanitize import get_logger, message_of, traceback_of
from livecheck_celery.utils.throttle import ThrottledLogger

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span
throttled = ThrottledLogger(get_logger(__name__))

_TRACE: Final = "opentelemetry.trace"
_NANOSECONDS: Final = 1_000_000_000

# The semantic conventions define "pass" and "fail", and allow other values where neither applies. A test that timed out
# or raised counts as a failure; a skipped test is neither.
_RESULTS: Final = {
    State.PASS: "pass",
    State.FAIL: "fail",
    State.ERROR: "fail",
    State.TIMEOUT: "fail",
    State.SKIP: "skip",
}


@contextmanager
def traced(running: RunningTest) -> Iterator[None]:
    """Open a span around the block in which ``running`` reaches its verdict; log errors of OpenTelemetry."""
    span = _start(running)
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
        _end(span, running, raised)


def _start(running: RunningTest) -> Span | None:
    if _TRACE not in sys.modules:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - see above

    test = running.test
    attributes: dict[str, str | bool] = {
        "test.case.name": running.case.name,
        "livecheck.test.id": test.id,
        "livecheck.test.synthetic": test.synthetic,
    }
    try:
        tracer = trace.get_tracer("livecheck_celery")
        return tracer.start_span(
            f"livecheck {running.case.name}", attributes=attributes, links=_links(test.traceparent)
        )
    except Exception:  # noqa: BLE001 - of a host's span processor
        throttled.exception("spans: %s: OpenTelemetry failed to start a span; continuing", test.ident)
        return None


def _links(parent: str | None) -> list[Link]:
    from opentelemetry import trace  # noqa: PLC0415 - see above
    from opentelemetry.context import Context  # noqa: PLC0415 - see above
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - see above

    found = TraceContextTextMapPropagator().extract({"traceparent": parent or ""}, Context())
    requested_in = trace.get_current_span(found).get_span_context()
    return [trace.Link(requested_in)] if requested_in.is_valid else []


def _end(span: Span, running: RunningTest, raised: BaseException | None) -> None:
    try:
        try:
            if span.is_recording():
                _describe(span, running, raised)
        finally:
            span.end()
    except Exception:  # noqa: BLE001 - of a host's span processor
        throttled.exception("spans: %s: OpenTelemetry failed to end a span; the verdict stands", running.test.ident)


def _describe(span: Span, running: RunningTest, raised: BaseException | None) -> None:
    arrived = running.arrived
    since_trigger = running.signal_since_trigger
    for event in arrived:
        at = None if event.received_at is None else int(event.received_at * _NANOSECONDS)
        span.add_event(event.signal_name, {"livecheck.signal.since_trigger": since_trigger[event.signal_name]}, at)
    report = running.report
    if report is not None:
        span.set_attribute("test.case.result.status", _RESULTS[report.state])
        span.set_attribute("livecheck.test.state", report.state.value)
        if not report.state.is_ok():
            _fail(span, running.error, report.error)
    elif isinstance(raised, Exception):  # not Interrupted, after which another worker runs the test
        _fail(span, raised, message_of(raised))


def _fail(span: Span, error: BaseException | None, description: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - see above

    if error is not None:
        # As record_exception(), which raises if the error cannot be printed, and exports text that is not Unicode.
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        described = {"type": name, "message": message_of(error), "stacktrace": traceback_of(error), "escaped": "False"}
        span.add_event("exception", {f"exception.{part}": text for part, text in described.items()})
    span.set_status(Status(StatusCode.ERROR, description))
