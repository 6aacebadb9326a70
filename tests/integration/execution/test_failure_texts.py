"""The error of a verdict names the place, and the values, of what failed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import requests

from livecheck_celery import Case, LiveCheck, State
from tests.helpers import plain_cases
from tests.helpers.order_case import declare, execute, reports
from tests.helpers.plain_cases import Awaiting, Plain

FILE = "plain_cases.py"
SOLD = "(order.side == 'sell' for order in orders)"


def error_of(livecheck: LiveCheck, method: str, state: State = State.FAIL, **attributes: Any) -> str:
    """Execute a case whose ``run()`` is ``method`` of `Plain` or `Awaiting`, and return the error of the report."""
    base: Any = Plain if hasattr(Plain, method) else Awaiting
    case = livecheck.add_case(type("test_order", (base,), {"run": getattr(base, method)}), name="shop.test_order")
    case.sent.send(7, key="o-1", force=True)
    livecheck.flush()
    runner = execute(case)
    [report] = [report for report in reports(livecheck) if report.test is not None]
    assert (runner.state, report.state) == (state, state), report.traceback
    assert report.error is not None
    return report.error


def line_of(method: str, text: str) -> int:
    source = Path(plain_cases.__file__).read_text().splitlines()
    start = next(number for number, line in enumerate(source, 1) if f"def {method}(" in line)
    return next(number for number, line in enumerate(source[start:], start + 1) if text in line)


@pytest.mark.promise("A failed `assert` is reported with its line, and the values that it compared.", theme="verdicts")
@pytest.mark.parametrize(
    ("method", "statement", "values"),
    [
        ("compare_call", "assert response.json()['status'] == 201", "response.json()['status'] = 400"),
        ("compare_attributes", "assert order.side == side", "order.side = 'buy', side = 'sell'"),
        (
            "compare_tuples",
            "assert (order.side, order.amount) == expected",
            "order.side = 'buy', order.amount = 3, expected = ('sell', 3)",
        ),
        ("compare_with_message", "the side of 3", "order.side = 'buy'"),
        ("compare_with_values_in_message", "buy, not sell", ""),
        ("compare_over_lines", "assert order.side == 'sell'", "order.side = 'buy'"),
        ("compare_property", "assert response.reads == response.calls + 1", "response.reads = 1, response.calls = 1"),
        (
            "compare_object",
            "assert response is side",
            "response = Response(status_code=400, calls=0), side = Side.BUY",
        ),
        ("compare_hostile_text", "assert not text", "text = '\\x1b[31mred\\nFAKE LOG LINE'"),
        (
            "compare_in_scopes",
            f"assert all({SOLD})",
            f"all({SOLD}) = False, orders = [Order(side='buy', amount=1, password=***)]",
        ),
        (
            "compare_comprehension",
            "assert [amount * 2 for amount in amounts] == [2, 5]",
            "[amount * 2 for amount in amounts] = [2, 4], amounts = [1, 2]",
        ),
        ("compare_first_of_a_line", "assert side == 'sell'", "side = 'buy'"),
        ("compare_second_of_a_line", "assert amount == 4", "amount = 3"),
        (
            "compare_in_a_nested_function",
            "assert half(number) == expected",
            "half(number) = 1, number = 2, expected = 2",
        ),
        ("compare_awaited", "assert await answer() == 201", "await answer() = 400"),
        (
            "compare_keywords",
            "assert response.json(deep=half(4))['items'][half(6)] == 1",
            "response.json(deep=half(4))['items'][half(6)] = 3",
        ),
        (
            "compare_in_a_loop",
            "assert number < 2 or (number < 3 and is_odd(number))",
            "number = 2, is_odd(number) = False",
        ),
    ],
)
def test_failed_assertion_shows_its_values(livecheck: LiveCheck, method: str, statement: str, values: str) -> None:
    error = error_of(livecheck, method)
    text, _, rest = error.partition(f" ({FILE}:")
    line, _, shown = rest.partition(")")
    assert text == statement
    assert shown == (f", where {values}" if values else "")
    assert int(line) >= line_of(method, "assert")


def test_values_of_secret_names_are_masked(livecheck: LiveCheck) -> None:
    error = error_of(livecheck, "compare_secret")
    assert error.endswith("where order.password = ***, api_key = ***, response.json()['token'] = ***")
    assert "hunter" not in error


def request_url(self: Any) -> None:
    requests.get("http://ann:hunter2@127.0.0.1:1/orders?token=hunter3", timeout=5)


def get_url(self: Any) -> None:
    url = "http://ann:hunter2@127.0.0.1:1/orders?token=hunter3"
    assert self.get_url(url), f"{url} does not answer"


@pytest.mark.promise("No login and no token of a URL is shown in a report or a log line.", theme="verdicts")
@pytest.mark.parametrize("run", [request_url, get_url, Plain.compare_url])
def test_secrets_of_urls_are_masked(livecheck: LiveCheck, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(logging.Formatter("%(message)s"))
    execute(declare(livecheck, run, url_error_retries=0))
    found = reports(livecheck)
    assert found
    assert "hunter" not in "".join(f"{report.error}{report.traceback}" for report in found) + caplog.text


def test_values_are_bounded(livecheck: LiveCheck) -> None:
    error = error_of(livecheck, "compare_big_values")
    assert "text = 'xxx" in error
    assert "(100000 characters), numbers = [0, 1, 2, 3, 4, 5, … 99994 more]" in error
    assert len(error) < 500


def test_assertion_in_a_function_of_the_module_shows_its_values(livecheck: LiveCheck) -> None:
    place = f"{FILE}:{line_of('check_side', 'assert')}"
    assert error_of(livecheck, "compare_in_a_helper") == (
        f"assert order.side.upper() == 'SELL' ({place}), where order.side.upper() = 'BUY'"
    )


def test_assignment_in_an_assertion_works(livecheck: LiveCheck) -> None:
    assert "where found = 2" in error_of(livecheck, "compare_with_walrus")


def test_error_has_the_place_in_user_code(livecheck: LiveCheck) -> None:
    line = line_of("raise_error", 'order["sales_channel"]')
    assert error_of(livecheck, "raise_error", State.ERROR) == f"KeyError: 'sales_channel' ({FILE}:{line})"


def test_last_received_signal_is_named(livecheck: LiveCheck) -> None:
    error = error_of(livecheck, "wait_then_fail")
    assert error.endswith("where amount = 3; after sent")


def test_error_names_the_last_received_signal(livecheck: LiveCheck) -> None:
    line = line_of("wait_then_raise", "raise")
    assert error_of(livecheck, "wait_then_raise", State.ERROR) == f"ValueError: no price ({FILE}:{line}); after sent"


def test_assertion_without_a_source_has_its_type_and_place(livecheck: LiveCheck) -> None:
    assert error_of(livecheck, "compare_executed_text") == "AssertionError (<string>:2)"


def test_error_has_no_place_in_livecheck(livecheck: LiveCheck) -> None:
    def run(self: Case, side: str) -> None: ...

    execute(declare(livecheck, run))
    [report] = reports(livecheck)
    assert report.error == "run(): missing a required argument: 'side'; given: 0 by position; run() takes: side"


async def stop_iteration(self: Case) -> None:
    raise StopIteration


def of_unreadable_cause(self: Case) -> None:
    class Unreadable(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    raise ValueError("no price") from Unreadable()


def raise_group(self: Case) -> None:
    raise ExceptionGroup("prices", [ValueError("no price"), ValueError("no side")])


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (stop_iteration, "RuntimeError: coroutine raised StopIteration ("),
        (of_unreadable_cause, "ValueError: no price ("),
        (raise_group, "ValueError: no price ("),
    ],
)
def test_error_that_user_code_did_not_raise_itself_has_a_place(livecheck: LiveCheck, run: Any, text: str) -> None:
    execute(declare(livecheck, run))
    [report] = reports(livecheck)
    assert str(report.error).startswith(f"{text}{Path(__file__).name}:")
