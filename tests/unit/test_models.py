"""The models, compared with the reference, and executions as headers and as JSON."""

import inspect
import json

from livecheck_celery.models import EXECUTION, State, TestExecution, TestReport
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
