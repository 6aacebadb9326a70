"""The models, compared with the reference, and executions as headers and as JSON."""

import inspect
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from livecheck_celery.models import EXECUTION, HEADER_ID, State, TestExecution, TestReport
from tests.helpers.factories import make_test


def test_headers_have_no_traceparent() -> None:
    test = make_test(traceparent="00-1-2-01")
    assert test.as_headers() == make_test(timestamp=test.timestamp, expires=test.expires).as_headers()


def test_executions_of_other_versions_are_read() -> None:
    test = make_test(traceparent="00-1-2-01")
    text = EXECUTION.dump_json(test)
    assert EXECUTION.validate_json(text) == test
    older = json.loads(text)
    del older["traceparent"]
    assert EXECUTION.validate_python(older).traceparent is None
    assert EXECUTION.validate_python(older | {"something_newer": 1}).id == test.id


def test_models_have_the_names_and_fields_of_the_reference() -> None:
    assert set(State) == {"INIT", "PASS", "FAIL", "ERROR", "TIMEOUT", "STALL", "SKIP"}
    assert [state for state in State if state.is_ok()] == [State.INIT, State.PASS, State.SKIP]
    assert list(inspect.signature(TestExecution).parameters)[:6] == [
        "id",
        "case_name",
        "timestamp",
        "test_args",
        "test_kwargs",
        "expires",
    ]
    assert list(inspect.signature(TestReport).parameters)[:7] == [
        "case_name",
        "state",
        "test",
        "runtime",
        "signal_latency",
        "error",
        "traceback",
    ]


def test_date_for_people_is_short_on_the_same_day() -> None:
    test = make_test(timestamp=datetime.now(UTC))
    assert test.human_date == f"Today {test.timestamp:%H:%M:%S}"
    assert make_test(timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)).human_date == "2026-01-02 03:04:05"


def test_headers_are_made_once_for_a_test_and_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    test = make_test()
    before = (repr(test), test.as_message(), EXECUTION.dump_json(test))
    headers = test.as_headers()
    monkeypatch.setattr(TestExecution, "_make_headers", lambda _: pytest.fail("made again"))
    test.as_headers().clear()
    assert test.as_headers() == headers
    assert (repr(test), test.as_message(), EXECUTION.dump_json(test)) == before
    monkeypatch.undo()
    assert replace(test, id="o-2").as_headers() == headers | {HEADER_ID: "o-2"}
