"""``trigger``: its arguments, errors and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from click.testing import Result

from livecheck_celery import LiveCheck, Signal, State, TestExecution, cli
from livecheck_celery.cli.trigger import as_value
from livecheck_celery.errors import BrokerUnavailable
from livecheck_celery.store import Store
from tests.helpers.cli_runner import invoke
from tests.helpers.factories import make_report, make_test

CASE = "shop.test_order"


def run(*arguments: str) -> Result:
    return invoke(cli.livecheck, ("-A", "shop_app", "trigger", *arguments))


class Publisher:
    """Records executions instead of publishing them, then calls ``then`` with each."""

    def __init__(self) -> None:
        self.published: list[TestExecution] = []
        self.then: Callable[[TestExecution], Any] = lambda test: None

    def execute(self, test: TestExecution) -> None:
        self.published.append(test)
        self.then(test)

    def close(self) -> None:
        """There is no connection."""


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def livecheck(store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    livecheck = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    livecheck.runtime.store = livecheck.runtime.request_store = store
    livecheck.runtime.publisher = publisher
    module = ModuleType("shop_app")
    module.app = livecheck.app
    monkeypatch.setitem(sys.modules, "shop_app", module)

    @livecheck.case(name=CASE, probability=0.0)
    class test_order:
        stored: Signal[str]
        sent: Signal[int]

        def run(self, number: int, side: str = "buy") -> None: ...

    return livecheck


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
def test_argument_that_is_not_json_is_a_string(text: str, value: Any) -> None:
    assert as_value(text) == value


def test_case_and_id_are_printed(livecheck: LiveCheck, store: Store, publisher: Publisher) -> None:
    result = run("test_order", "--id", "x", "42", "-k", "side=sell")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{CASE}:x\n", "")
    [test] = publisher.published
    assert (test.ident, test.test_args, test.test_kwargs) == (f"{CASE}:x", [42], {"side": "sell"})


def test_default_id_is_unique(livecheck: LiveCheck) -> None:
    assert run("test_order", "1").stdout != run("test_order", "1").stdout


def test_argument_after_two_dashes_can_start_with_a_dash(livecheck: LiveCheck, publisher: Publisher) -> None:
    assert run("test_order", "--", "-5").exit_code == 0
    assert publisher.published[0].test_args == [-5]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["test_ordre", "1"], "unknown case 'test_ordre'", f"did you mean {CASE}?"),
        (["x", "1"], "unknown case 'x'", f"declared cases: {CASE}"),
        (["test_order", "1", "-k", "side"], "invalid -k 'side': expected NAME=VALUE", "for example -k side=sell"),
        (["test_order", "1", "-k", "=sell"], "invalid -k '=sell': expected NAME=VALUE", "for example -k side=sell"),
        (["test_order", "1", "-k", "id=7"], "-k id=... is reserved for the id of the test", "use --id"),
        (
            ["test_order", "1", "-k", "sid=sell"],
            f"{CASE}: got an unexpected keyword argument 'sid'",
            "the signature is run(",
        ),
        (["test_order"], f"{CASE}: missing a required argument: 'number'", "the signature is run(number: "),
        (["test_order", "1", "--timeout", "soon"], "Invalid value for '--timeout'", "`livecheck trigger --help`"),
        (["test_order", "1", "--timeout", "0"], "Invalid value for '--timeout'", "`livecheck trigger --help`"),
        ([], "Missing argument 'CASE'.", "`livecheck trigger --help`"),
    ],
)
def test_invalid_input_prints_an_error_and_a_hint(
    livecheck: LiveCheck, publisher: Publisher, arguments: list[str], error: str, hint: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"Error: {error}")
    assert second.startswith(f"Hint: {hint}")
    assert publisher.published == []


def test_keyword_given_twice_is_refused(livecheck: LiveCheck) -> None:
    result = run("test_order", "1", "-k", "side=buy", "-k", "side=sell")
    assert (result.exit_code, result.stderr) == (2, "Error: -k side=... is given twice\n")


def test_module_without_cases_is_refused(livecheck: LiveCheck) -> None:
    livecheck.cases.clear()
    result = run("test_order")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no case is declared in this process\nHint: name the module")


def test_duplicate_id_is_refused_while_open(livecheck: LiveCheck) -> None:
    assert run("test_order", "1", "--id", "x").exit_code == 0
    result = run("test_order", "1", "--id", "x")
    assert result.exit_code == 2
    assert result.stderr.endswith("Hint: choose another --id, or wait for the verdict of that test\n")


def test_broker_outage_is_an_error(livecheck: LiveCheck, publisher: Publisher) -> None:
    def refuse(test: TestExecution) -> None:
        raise BrokerUnavailable("the broker is down")

    publisher.then = refuse
    result = run("test_order", "1")
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error.startswith("Error: the broker is down. The test shop.test_order:")
    assert error.endswith(
        " is recorded: recovery sends it when the broker accepts messages, so do not trigger it again"
    )
    assert hint == "Hint: `livecheck reports` shows its verdict; `livecheck doctor` checks the broker"


@pytest.mark.parametrize("state", [State.PASS, State.FAIL, State.ERROR, State.TIMEOUT, State.SKIP])
def test_verdict_sets_the_exit_code(livecheck: LiveCheck, store: Store, publisher: Publisher, state: State) -> None:
    def judge(test: TestExecution) -> None:
        store.reports.post(make_report(State.STALL, case_name=CASE))
        error = None if state is State.PASS else "the side\nis wrong"
        store.reports.post(
            make_report(state, test, runtime=1.5, error=error, traceback="Tr\n", signal_since_trigger={"stored": 0.5})
        )

    publisher.then = judge
    result = run("test_order", "1", "--id", "x", "--wait")
    assert result.exit_code == (0 if state is State.PASS else 1)
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"{CASE}:x", f"{state} in 1.500 s" + ("" if state is State.PASS else ": the side is wrong")]
    assert lines[2:4] == ["  stored: arrived after 0.500 s", "  sent: did not arrive"]
    assert lines[4:] == (["Tr"] if state is State.ERROR else [])


def test_wait_ignores_verdicts_of_other_tests(livecheck: LiveCheck, store: Store, publisher: Publisher) -> None:
    store.reports.post(make_report(State.PASS, make_test("x", CASE)))
    publisher.then = lambda test: store.reports.post(make_report(State.PASS, make_test("y", CASE)))
    result = run("test_order", "1", "--id", "x", "--wait", "--timeout", "0.05")
    assert result.exit_code == 2
    assert result.stdout == f"{CASE}:x\n"
    assert result.stderr.startswith(f"Error: no verdict for {CASE}:x within 0.05 s; the test keeps running\nHint: ")


def test_refusal_by_a_worker_is_an_error(livecheck: LiveCheck, store: Store, publisher: Publisher) -> None:
    refusal = make_report(State.ERROR, case_name=CASE, error="no case of that name")
    publisher.then = lambda test: store.reports.post(refusal, unknown_case=True)
    result = run("test_order", "1", "--id", "x", "--wait")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: a worker refused {CASE}:x: no case of that name\n")


def test_ctrl_c_while_waiting_exits_with_2(
    livecheck: LiveCheck, store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, block: float) -> Any:
        if block:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(store.reports, "follow", interrupt)
    result = run("test_order", "1", "--id", "x", "--wait")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: stopped waiting; {CASE}:x keeps running\n")


def test_wait_is_refused_if_reports_are_off(livecheck: LiveCheck, publisher: Publisher) -> None:
    livecheck.settings = livecheck.settings.model_copy(update={"send_reports": False})
    result = run("test_order", "1", "--wait")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --wait needs reports, but send_reports is off\nHint: ")
    assert publisher.published == []
