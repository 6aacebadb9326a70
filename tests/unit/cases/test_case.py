"""Case: every attribute, method and parameter of the reference, and the options of a case."""

from __future__ import annotations

import inspect
import logging
import sys
from collections import Counter, deque
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

from livecheck_celery import Case, ConfigurationError, LiveCheck, Signal, State, TestRunner

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

#: Attributes of a case that has never run, where they differ from the class.
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

#: Parameters of Case(), all of them keywords.
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


@pytest.mark.promise("A case has every attribute of the reference's, with its default.", theme="cases")
@pytest.mark.parametrize(("name", "default"), DEFAULTS)
def test_attribute_has_its_default_on_the_class(name: str, default: Any) -> None:
    assert getattr(Case, name) == default
    assert type(getattr(Case, name)) is type(default)


@pytest.mark.parametrize(("name", "default"), [*DEFAULTS, *PER_CASE.items()])
def test_attribute_has_its_default_on_a_case_that_never_ran(case: Any, name: str, default: Any) -> None:
    assert getattr(case, name) == default
    assert type(getattr(case, name)) is type(default)


@pytest.mark.promise("A case has every method of the reference's, with its parameters.", theme="cases")
@pytest.mark.parametrize(("name", "parameters"), METHODS)
def test_method_exists_with_its_parameters(name: str, parameters: list[str]) -> None:
    found = inspect.signature(getattr(Case, name)).parameters
    assert list(found)[1:] == parameters


@pytest.mark.parametrize("name", ["trigger", "maybe_trigger"])
def test_triggers_have_the_parameters_of_the_reference(case: Any, name: str) -> None:
    for owner in (case, Case):
        assert list(inspect.signature(getattr(owner, name)).parameters) == ["id", "args", "kwargs"]


def test_suite_failure_sets_fail_by_default() -> None:
    assert inspect.signature(Case.on_suite_fail).parameters["new_state"].default is State.FAIL


def test_constructor_has_the_parameters_of_the_reference() -> None:
    parameters = inspect.signature(Case).parameters
    assert list(parameters) == PARAMETERS
    assert all(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters.values())
    assert all(parameters[name].default is None for name in PARAMETERS[2:-1])


def test_constructor_accepts_signals(redis_url: str) -> None:
    livecheck = LiveCheck(Celery("contract", broker=redis_url, set_as_current=False))
    case = Case(app=livecheck, name="by_hand", signals=[Signal(name="sent")], probability=1)
    assert case.app is livecheck
    assert case.probability == 1
    assert list(case.signals) == ["sent"]
    assert case.total_signals == case.signals["sent"].index == 1


def test_case_has_loggers_diagnostics_and_exit_stacks(case: Any) -> None:
    assert isinstance(Case.logger, logging.Logger)
    assert callable(case.log.info)
    case.diag.set_flag("waiting")
    assert case.diag.flags == {"waiting"}
    case.diag.unset_flag("waiting")
    assert case.diag.flags == set()
    assert isinstance(case.exit_stack, ExitStack)
    assert isinstance(case.async_exit_stack, AsyncExitStack)


def test_status_is_read_only(case: Any) -> None:
    with pytest.raises(AttributeError, match="read-only"):
        case.status = State.PASS


@pytest.mark.promise(
    "An invalid setting of a case raises at declaration, naming the case and the field.",
    theme="cases",
)
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"probability": 1.5}, "probability"),
        ({"probability": -0.1}, "probability"),
        ({"warn_stalled_after": -1}, "warn_stalled_after"),
        ({"test_expires": "soon"}, "test_expires"),
        ({"test_expires": timedelta(seconds=-1)}, "test_expires"),
        ({"frequency": "x"}, "frequency"),
        ({"frequency": -1}, "frequency"),
        ({"max_history": 0}, "max_history"),
        ({"failure_rate_tests": 10**400}, "failure_rate_tests"),
        ({"url_error_retries": -1}, "url_error_retries"),
        ({"url_timeout_total": float("nan")}, "url_timeout_total"),
        ({"probabilty": 1}, "probabilty"),
    ],
)
def test_invalid_setting_is_refused_with_the_case_and_the_field_named(
    livecheck: LiveCheck, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^case shop\.bad: {field}: "):

        @livecheck.case(name="shop.bad", **options)
        class bad: ...

    assert livecheck.cases == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [(30, 30.0), ("30s", 30.0), ("5m", 300.0), ("3h", 10800.0), ("1.5 h", 5400.0), (timedelta(minutes=1), 60.0)],
)
def test_duration_can_be_a_number_text_or_timedelta(livecheck: LiveCheck, given: Any, expected: float) -> None:
    case = Case(app=livecheck, name="d", warn_stalled_after=given, frequency=given, test_expires=given)
    assert case.warn_stalled_after == expected
    assert case.frequency == expected
    assert case.test_expires == timedelta(seconds=expected)


def test_frequency_can_be_a_celery_schedule(livecheck: LiveCheck) -> None:
    schedule = crontab(minute="*/5")
    assert Case(app=livecheck, name="c", frequency=schedule).frequency is schedule


def test_argument_precedes_class_configuration_and_environment(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVECHECK_PROBABILITY", "0.1")
    monkeypatch.setenv("LIVECHECK_MAX_HISTORY", "11")
    monkeypatch.setenv("LIVECHECK_WARN_STALLED_AFTER", "7m")
    monkeypatch.setenv("LIVECHECK_ACTIVE", "false")
    livecheck.app.conf.livecheck_probability = 0.2
    livecheck.app.conf.livecheck_max_history = 22

    class Plain(Case): ...

    class Set(Case):
        probability = 0.3

    assert Plain(app=livecheck, name="a").max_history == 22
    assert Plain(app=livecheck, name="b").probability == 0.2
    assert Set(app=livecheck, name="c").probability == 0.3
    assert Set(app=livecheck, name="d", probability=0.4).probability == 0.4
    assert Plain(app=livecheck, name="e").warn_stalled_after == 420.0
    assert Plain(app=livecheck, name="f").active is False


@pytest.mark.parametrize("option", ["url_timeout_total", "url_timeout_connect", "frequency", "max_runtime"])
def test_none_means_no_limit_as_argument_and_as_class_attribute(livecheck: LiveCheck, option: str) -> None:
    class Given(Case): ...

    setattr(Given, option, 7)

    class Off(Given): ...

    setattr(Off, option, None)
    assert getattr(livecheck.add_case(Given, name="given"), option) == 7
    assert getattr(livecheck.add_case(Off, name="attribute"), option) is None
    assert getattr(livecheck.add_case(Given, name="argument", **{option: None}), option) is None
    assert getattr(livecheck.add_case(type("Plain", (Case,), {}), name="plain", **{option: None}), option) is None


def test_none_is_not_given_for_options_that_cannot_be_none(livecheck: LiveCheck) -> None:
    class Given(Case):
        probability = 0.25

    assert livecheck.add_case(Given, name="c", probability=None, max_history=None, active=None).probability == 0.25
    assert livecheck.add_case(Case, name="d", test_expires=None).test_expires == timedelta(hours=3)


@pytest.mark.parametrize("zero", [0, 0.0, "0", "0s", timedelta(0)])
def test_frequency_of_zero_is_off(livecheck: LiveCheck, zero: Any) -> None:
    class Given(Case):
        frequency = 5

    assert livecheck.add_case(Given, name="argument", frequency=zero).frequency is None
    Given.frequency = zero
    assert livecheck.add_case(Given, name="attribute").frequency is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"test_expires": "inf"}, "test_expires: must be a finite number of seconds, a timedelta, or text such as"),
        ({"test_expires": float("nan")}, "test_expires: must be a finite number of seconds"),
        ({"test_expires": "999999999999d"}, "test_expires: must be more than 0 and at most 315360000 seconds"),
        ({"test_expires": timedelta.max}, "test_expires: must be more than 0 and at most 315360000 seconds"),
        ({"test_expires": True}, "test_expires: must be a finite number of seconds"),
        ({"warn_stalled_after": "1e308"}, "warn_stalled_after: must be at most 315360000"),
        ({"warn_stalled_after": 10**400}, "warn_stalled_after: must be a finite number of seconds"),
        ({"frequency": float("inf")}, "frequency: must be a finite number of seconds"),
        ({"frequency": -1}, "frequency: must be more than 0, not -1"),
        ({"frequency": []}, "frequency: must be a finite number of seconds"),
        ({"probability": float("nan")}, "probability: must be a finite number"),
        ({"probability": "often"}, "probability: must be a number"),
        ({"max_history": sys.maxsize}, "max_history: must be at most 100000"),
        ({"max_history": 2.5}, "max_history: must be a whole number"),
        ({"max_consecutive_failures": 2**63}, "max_consecutive_failures: must be at most 10000000"),
        ({"url_error_retries": 10**12}, "url_error_retries: must be at most 10000000"),
        ({"url_timeout_total": "30d"}, "url_timeout_total: must be at most 2073600, not 2592000"),
        ({"active": "often"}, "active: must be true or false"),
        ({"probabilty": 1}, "probabilty: unknown option; did you mean 'probability'\\?"),
    ],
)
def test_error_of_an_option_is_in_plain_words(livecheck: LiveCheck, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^case c: {problem}") as caught:
        livecheck.add_case(type("c", (Case,), {}), name="c", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert not any(word in message.lower() for word in ("input", "pydantic", "function-", "valid "))
    assert livecheck.cases == {}
