"""Spans of executions under gevent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
from opentelemetry import trace

from livecheck_celery.execution.spans import traced
from livecheck_celery.models import State
from tests.helpers.factories import make_test
from tests.helpers.tracing import recording


def runner_of(test_id: str) -> Any:
    report = SimpleNamespace(state=State.PASS, error=None)
    return SimpleNamespace(
        case=SimpleNamespace(name="o"), test=make_test(test_id), report=report, arrived=[], signal_since_trigger={}
    )


def test_each_greenlet_has_its_own_span() -> None:
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
