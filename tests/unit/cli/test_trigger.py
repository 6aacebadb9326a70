"""``trigger``: arguments, errors, and the verdict as exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner, Result

from livecheck_celery import LiveCheck, Signal, State, TestExecution, cli
from livecheck_celery.cli.trigger import as_value
from livecheck_celery.errors import BrokerUnavailable
from livecheck_celery.store import Store
from tests.helpers.factories import make_report, make_test

CASE = "shop.test_order"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.livecheck, ("-A", "shop_app", "trigger", *arguments))


class Broker:
    """Takes messages instead of a broker, and does ``then`` with each."""

    def __init__(self) -> None:
        self.taken: list[TestExecution] = []
        self.then: Callable[[TestExecution], Any] = lambda test: None

    def execute(self, test: TestExecution) -> None:
        self.taken.append(test)
        self.then(test)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def suite(store: Store, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    suite = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    suite.runtime.store = suite.runtime.request_store = store
    suite.runtime.publisher = broker
    module = ModuleType("shop_app")
    module.app = suite.app
    monkeypatch.setitem(sys.modules, "shop_app", module)

    @suite.case(name=CASE, probability=0.0)
    class test_order:
        stored: Signal[str]
        sent: Signal[int]

        def run(self, number: int, side: str = "buy") -> None: ...

    return suite


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-1.5", -1.5),
        ("null", None),
        ("true", True),
        ('"42"', "42"),
        ("sell", "sell"),
        ("", ""),
        ('{"a": [1]}', {"a": [1]}),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("{broken", "{broken"),
    ],
)
def test_arguments_are_json_where_they_are_json(text: str, value: Any) -> None:
    assert as_value(text) == value


def test_a_test_is_requested_and_named(suite: LiveCheck, store: Store, broker: Broker) -> None:
    result = run("test_order", "--id", "x", "42", "-k", "side=sell")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{CASE}:x\n", "")
    [test] = broker.taken
    assert (test.ident, test.test_args, test.test_kwargs) == (f"{CASE}:x", [42], {"side": "sell"})


def test_without_an_id_there_is_a_new_one_each_time(suite: LiveCheck) -> None:
    assert run("test_order", "1").stdout != run("test_order", "1").stdout


def test_after_two_dashes_an_argument_may_begin_with_one(suite: LiveCheck, broker: Broker) -> None:
    assert run("test_order", "--", "-5").exit_code == 0
    assert broker.taken[0].test_args == [-5]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["test_ordre", "1"], "no case named 'test_ordre'", f"did you mean {CASE}?"),
        (["x", "1"], "no case named 'x'", f"declared here: {CASE}"),
        (["test_order", "1", "-k", "side"], "-k 'side' is not name=value", "for example -k side=sell"),
        (["test_order", "1", "-k", "=sell"], "-k '=sell' is not name=value", "for example -k side=sell"),
        (["test_order", "1", "-k", "id=7"], "-k id=... would be the test's id", "use --id"),
        (["test_order", "1", "-k", "sid=sell"], f"{CASE}: got an unexpected keyword argument 'sid'", "it takes run("),
        (["test_order"], f"{CASE}: missing a required argument: 'number'", "it takes run(number: "),
        (["test_order", "1", "--timeout", "soon"], "Invalid value for '--timeout'", "`livecheck trigger --help`"),
        (["test_order", "1", "--timeout", "0"], "Invalid value for '--timeout'", "`livecheck trigger --help`"),
        ([], "Missing argument 'CASE'.", "`livecheck trigger --help`"),
    ],
)
def test_mistakes_are_one_line_and_a_hint(
    suite: LiveCheck, broker: Broker, arguments: list[str], error: str, hint: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"Error: {error}")
    assert second.startswith(f"Hint: {hint}")
    assert broker.taken == []


def test_a_keyword_given_twice_is_an_error(suite: LiveCheck) -> None:
    result = run("test_order", "1", "-k", "side=buy", "-k", "side=sell")
    assert (result.exit_code, result.stderr) == (2, "Error: -k side=... is given twice\n")


def test_where_no_case_is_declared_the_hint_says_how(suite: LiveCheck) -> None:
    suite.cases.clear()
    result = run("test_order")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no case is declared here\nHint: name the module")


def test_an_id_that_is_still_open_is_an_error(suite: LiveCheck) -> None:
    assert run("test_order", "1", "--id", "x").exit_code == 0
    result = run("test_order", "1", "--id", "x")
    assert result.exit_code == 2
    assert result.stderr.endswith("Hint: choose another --id, or wait for its verdict\n")


def test_a_broker_that_is_down_is_an_error(suite: LiveCheck, broker: Broker) -> None:
    def refuse(test: TestExecution) -> None:
        raise BrokerUnavailable("the broker is down")

    broker.then = refuse
    result = run("test_order", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: the broker is down\nHint: `livecheck doctor`")


@pytest.mark.parametrize("state", [State.PASS, State.FAIL, State.ERROR, State.TIMEOUT, State.SKIP])
def test_the_verdict_is_the_exit_code(suite: LiveCheck, store: Store, broker: Broker, state: State) -> None:
    def judge(test: TestExecution) -> None:
        store.reports.post(make_report(State.STALL, case_name=CASE))
        error = None if state is State.PASS else "the side\nis wrong"
        store.reports.post(
            make_report(state, test, runtime=1.5, error=error, traceback="Tr\n", signal_since_trigger={"stored": 0.5})
        )

    broker.then = judge
    result = run("test_order", "1", "--id", "x", "--wait")
    assert result.exit_code == (0 if state is State.PASS else 1)
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"{CASE}:x", f"{state} in 1.500 s" + ("" if state is State.PASS else ": the side is wrong")]
    assert lines[2:4] == ["  stored: after 0.500 s", "  sent: did not arrive"]
    assert lines[4:] == (["Tr"] if state is State.ERROR else [])


def test_the_verdict_on_another_test_is_not_taken_for_this_ones(suite: LiveCheck, store: Store, broker: Broker) -> None:
    store.reports.post(make_report(State.PASS, make_test("x", CASE)))
    broker.then = lambda test: store.reports.post(make_report(State.PASS, make_test("y", CASE)))
    result = run("test_order", "1", "--id", "x", "--wait", "--timeout", "0.05")
    assert result.exit_code == 2
    assert result.stdout == f"{CASE}:x\n"
    assert result.stderr.startswith(f"Error: no verdict on {CASE}:x within 0.05 s; it goes on\nHint: ")


def test_a_worker_that_does_not_know_the_case_is_said(suite: LiveCheck, store: Store, broker: Broker) -> None:
    refusal = make_report(State.ERROR, case_name=CASE, error="no case of that name")
    broker.then = lambda test: store.reports.post(refusal, unknown_case=True)
    result = run("test_order", "1", "--id", "x", "--wait")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: a worker refused {CASE}:x: no case of that name\n")


def test_ctrl_c_while_waiting_is_no_verdict(
    suite: LiveCheck, store: Store, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, block: float) -> Any:
        if block:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(store.reports, "follow", interrupt)
    result = run("test_order", "1", "--id", "x", "--wait")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: stopped waiting; {CASE}:x goes on\n")


def test_waiting_without_reports_is_refused_before_anything_is_started(suite: LiveCheck, broker: Broker) -> None:
    suite.settings = suite.settings.model_copy(update={"send_reports": False})
    result = run("test_order", "1", "--wait")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: reports are off, so --wait would see no verdict\nHint: ")
    assert broker.taken == []
