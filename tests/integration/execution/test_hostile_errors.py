"""Errors that cannot be printed, or are not Unicode: one true verdict, with what can be said."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, State, SuiteFailed
from tests.helpers.factories import BrokenStr
from tests.helpers.order_case import declare, execute, reports
from tests.helpers.tracing import recording


class Unprintable(Exception):
    """An exception that raises as soon as it is looked at."""

    @property
    def __notes__(self) -> Any:
        raise ZeroDivisionError

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Unreadable(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


class WithoutClass(Exception):
    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError


class WithoutTraceback(Exception):
    @property
    def __traceback__(self) -> Any:
        raise ZeroDivisionError


class HostileMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise ZeroDivisionError(name)


class OfHostileMeta(Exception, metaclass=HostileMeta): ...


class UnreadableGroup(ExceptionGroup[Exception]):
    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class UnreadableAssertion(AssertionError):
    __getattribute__ = Unreadable.__getattribute__


def chained() -> Exception:
    error, error.__cause__, error.__context__ = ValueError("first"), ValueError("caf\udce9"), BrokenStr()
    return error


def noted() -> Exception:
    error = ValueError("first")
    error.add_note("caf\udce9")
    return error


def nested(depth: int) -> Exception:
    error: Exception = ValueError("text")
    for _ in range(depth):
        error = ExceptionGroup("group", [error])
    return error


ERRORS: dict[str, tuple[Callable[[], BaseException], str]] = {
    "half a surrogate pair": (lambda: ValueError("caf\udce9"), "ValueError: caf\\udce9"),
    "in a LiveCheckError": (lambda: SuiteFailed("caf\udce9"), "caf\\udce9"),
    "__str__ raises": (BrokenStr, "BrokenStr"),
    "__str__ exits": (Unprintable, "Unprintable"),
    "cause": (chained, "ValueError: first"),
    "note": (noted, "ValueError: first"),
    "group": (
        lambda: ExceptionGroup("caf\udce9", [BrokenStr(), ValueError("caf\udce9")]),
        "BrokenStr; also raised: ValueError: caf\\udce9",
    ),
    "attributes raise": (lambda: Unreadable("text"), "Unreadable: text"),
    "class raises": (lambda: WithoutClass("text"), "WithoutClass: text"),
    "traceback raises": (lambda: WithoutTraceback("text"), "WithoutTraceback: text"),
    "metaclass raises": (lambda: OfHostileMeta("text"), "OfHostileMeta: text"),
    "attributes of a group raise": (lambda: UnreadableGroup("group", [ValueError("text")]), "ValueError: text"),
    "attributes of one in a group raise": (
        lambda: ExceptionGroup("group", [Unreadable("one"), ValueError("two")]),
        "Unreadable: one; also raised: ValueError: two",
    ),
    "deeply nested group": (lambda: nested(2_000), "ValueError: text"),
    "long integer": (lambda: ValueError(10**5000), "ValueError"),
}


@pytest.mark.promise("A `run()` gets its verdict, whatever it raises.", theme="verdicts")
@pytest.mark.parametrize(("make", "text"), ERRORS.values(), ids=ERRORS)
def test_error_that_cannot_be_printed_gets_its_verdict(
    livecheck: LiveCheck, make: Callable[[], BaseException], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = []

    def run(self: Case) -> None:
        raise make()

    def on_test_error(self: Case, runner: Any, exc: BaseException) -> None:
        hooks.append(exc)
        raise make()

    case = declare(livecheck, run, max_consecutive_failures=1)
    type(case).on_test_error = on_test_error  # type: ignore[method-assign] # a hook of this test
    with recording() as spans:
        runner = execute(case)
    assert runner.state is State.ERROR
    report, *_ = reports(livecheck)
    assert report.state is State.ERROR
    assert re.sub(r" \(test_hostile_errors.py:\d+\)", "", str(report.error)) == text
    assert str(report.traceback).isascii()
    assert case.total_by_state == {State.ERROR: 1}
    assert hooks == [runner.error]
    [span] = spans.named("livecheck shop.test_order")
    assert [event.name for event in span.events] == ["exception"]
    assert span.events[0].attributes is not None
    assert all(str(value).isascii() for value in span.events[0].attributes.values())
    assert "on_test_error() raised" in caplog.text


def test_assertion_whose_attributes_raise_is_a_fail(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        raise UnreadableAssertion("text")

    runner = execute(declare(livecheck, run))
    assert runner.state is State.FAIL
    report, *_ = reports(livecheck)
    assert str(report.error).startswith("text (test_hostile_errors.py:")


@pytest.mark.parametrize(("make", "text"), [(lambda: SuiteFailed("caf\udce9"), "caf\\udce9")])
def test_suite_failure_that_is_not_unicode_is_reported(
    livecheck: LiveCheck, make: Callable[[], SuiteFailed], text: str
) -> None:
    case = declare(livecheck, lambda _: None)
    case.fail_suite(make())
    assert [report.error for report in reports(livecheck)] == [text]


def test_suite_failure_that_cannot_be_printed_is_reported(livecheck: LiveCheck) -> None:
    class Silent(SuiteFailed):
        def __str__(self) -> str:
            raise SystemExit(3)

    case = declare(livecheck, lambda _: None)
    case.fail_suite(Silent())
    assert [(report.state, report.error) for report in reports(livecheck)] == [(State.FAIL, "Silent")]
