"""The class page, name by name: every attribute with its default, every method, every property."""

from __future__ import annotations

import inspect
import logging
from collections import Counter, deque
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, State, TestExecution, TestReport, TestRunner

#: Attribute, and its default on the class.
DEFAULTS = [
    ("status", State.INIT),
    ("last_test_received", None),
    ("last_fail", None),
    ("runtime_avg", None),
    ("latency_avg", None),
    ("frequency_avg", None),
    ("state_transition_delay", 60.0),
    ("consecutive_failures", 0),
    ("total_failures", 0),
    ("active", True),
    ("probability", 0.5),
    ("warn_stalled_after", 1800.0),
    ("test_expires", timedelta(seconds=10800)),
    ("frequency", None),
    ("realtime_logs", False),
    ("max_history", 100),
    ("max_consecutive_failures", 30),
    ("url_timeout_total", 300.0),
    ("url_timeout_connect", None),
    ("url_error_retries", 10),
    ("url_error_delay_min", 0.5),
    ("url_error_delay_backoff", 1.5),
    ("url_error_delay_max", 5.0),
    ("frequency_history", deque()),
    ("latency_history", deque()),
    ("runtime_history", deque()),
    ("total_by_state", Counter()),
    ("seconds_since_last_fail", None),
    ("Runner", TestRunner),
]

#: What the reads from Redis are of a case that has never run; the rest is as on the class.
PER_CASE = {
    "name": "contract",
    "signals": {},
    "total_signals": 0,
    "current_test": None,
    "current_execution": None,
    "label": "contract: contract",
}

#: Method, and the names of its parameters.
METHODS = [
    ("run", ["test_args", "test_kwargs"]),
    ("resolve_signal", ["key", "event"]),
    ("execute", ["test"]),
    ("on_test_start", ["runner"]),
    ("on_test_skipped", ["runner"]),
    ("on_test_failed", ["runner", "exc"]),
    ("on_test_error", ["runner", "exc"]),
    ("on_test_timeout", ["runner", "exc"]),
    ("on_test_pass", ["runner"]),
    ("post_report", ["report"]),
    ("make_fake_request", []),
    ("on_suite_fail", ["exc", "new_state"]),
    ("get_url", ["url", "kwargs"]),
    ("post_url", ["url", "kwargs"]),
    ("url_request", ["method", "url", "kwargs"]),
]

#: Parameters of Case(), all of them by keyword.
PARAMETERS = [
    "app",
    "name",
    "probability",
    "warn_stalled_after",
    "active",
    "signals",
    "test_expires",
    "frequency",
    "realtime_logs",
    "max_history",
    "max_consecutive_failures",
    "url_timeout_total",
    "url_timeout_connect",
    "url_error_retries",
    "url_error_delay_min",
    "url_error_delay_backoff",
    "url_error_delay_max",
    "kwargs",
]


@pytest.fixture
def case(redis_url: str) -> Any:
    livecheck = LiveCheck(Celery("contract", broker=redis_url, set_as_current=False))

    @livecheck.case(name="contract")
    class contract:
        def run(self) -> None: ...

    return contract


@pytest.mark.promise("Every attribute of the reference's Case is there, with its default.", theme="cases")
@pytest.mark.parametrize(("name", "default"), DEFAULTS)
def test_every_attribute_has_its_default_on_the_class(name: str, default: Any) -> None:
    assert getattr(Case, name) == default
    assert type(getattr(Case, name)) is type(default)


@pytest.mark.parametrize(("name", "default"), [*DEFAULTS, *PER_CASE.items()])
def test_every_attribute_has_its_default_on_a_case_that_never_ran(case: Any, name: str, default: Any) -> None:
    assert getattr(case, name) == default
    assert type(getattr(case, name)) is type(default)


@pytest.mark.promise("Every method of the reference's Case is there, with its parameters.", theme="cases")
@pytest.mark.parametrize(("name", "parameters"), METHODS)
def test_every_method_is_there_with_its_parameters(name: str, parameters: list[str]) -> None:
    found = inspect.signature(getattr(Case, name)).parameters
    assert list(found)[1:] == parameters


@pytest.mark.parametrize("name", ["trigger", "maybe_trigger"])
def test_triggers_take_what_the_references_take(case: Any, name: str) -> None:
    for owner in (case, Case):
        assert list(inspect.signature(getattr(owner, name)).parameters) == ["id", "args", "kwargs"]


def test_a_suite_fails_with_fail_unless_told_otherwise() -> None:
    assert inspect.signature(Case.on_suite_fail).parameters["new_state"].default is State.FAIL


def test_a_case_is_made_with_the_parameters_of_the_reference() -> None:
    parameters = inspect.signature(Case).parameters
    assert list(parameters) == PARAMETERS
    assert all(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters.values())
    assert all(parameters[name].default is None for name in PARAMETERS[2:-1])


def test_a_case_can_be_made_by_hand_with_signals(redis_url: str) -> None:
    livecheck = LiveCheck(Celery("contract", broker=redis_url, set_as_current=False))
    case = Case(app=livecheck, name="by_hand", signals=[Signal(name="sent")], probability=1)
    assert case.app is livecheck
    assert case.probability == 1
    assert list(case.signals) == ["sent"]
    assert case.total_signals == case.signals["sent"].index == 1


def test_logs_diagnostics_and_exit_stacks_are_there(case: Any) -> None:
    assert isinstance(Case.logger, logging.Logger)
    assert callable(case.log.info)
    case.diag.set_flag("waiting")
    assert case.diag.flags == {"waiting"}
    case.diag.unset_flag("waiting")
    assert case.diag.flags == set()
    assert isinstance(case.exit_stack, ExitStack)
    assert isinstance(case.async_exit_stack, AsyncExitStack)


def test_values_of_the_contract_are_public() -> None:
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


def test_the_state_of_a_suite_cannot_be_set_by_hand(case: Any) -> None:
    with pytest.raises(AttributeError, match="read-only"):
        case.status = State.PASS
