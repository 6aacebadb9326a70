"""The guard: what it catches, and what it logs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from livecheck_celery import ConfigurationError
from livecheck_celery.guard import GUARD, Guard, guarded
from tests.helpers.factories import BrokenStr


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GUARD, "throttle", Guard().throttle)


def test_error_is_logged_once_a_minute_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard()
    for _ in range(3):
        for kind in ("a", "b"):
            with guard(kind, "part: failed to do %s; continuing", kind):
                raise ZeroDivisionError
    assert caplog.messages == ["part: failed to do a; continuing", "part: failed to do b; continuing"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_error_propagates(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(error), Guard()("kind", "line"):
        raise error

    @guarded("line", 1)
    def fail() -> int:
        raise error

    with pytest.raises(error):
        fail()
    assert caplog.messages == []


def test_wrong_setting_is_logged_once_by_the_first_part_that_fails_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = Guard()
    for setting in ("prefix", "queue"):
        for kind in ("one part", "another part"):
            with guard(kind, "%s: failed", kind):
                raise ConfigurationError(f"LiveCheck: {setting}: must not be empty")
    assert "Traceback" not in caplog.text
    assert caplog.messages == [
        "one part: failed: LiveCheck: prefix: must not be empty",
        "one part: failed: LiveCheck: queue: must not be empty",
    ]


def test_decorated_function_returns_its_result_or_the_substitute(caplog: pytest.LogCaptureFixture) -> None:
    @guarded("part: failed to divide; continuing", 0.0)
    def divide(number: float, by: float = 1.0) -> float:
        """Divide."""
        return number / by

    assert divide(3.0, by=2.0) == 1.5
    assert divide(3.0, by=0.0) == divide(1.0, 0.0) == 0.0
    assert caplog.messages == ["part: failed to divide; continuing"]
    assert (divide.__name__, divide.__doc__) == ("divide", "Divide.")


def test_logging_that_fails_does_not_raise() -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("a filter of the application")

    logger = logging.getLogger("livecheck_celery.guard")
    logger.addFilter(refuse)
    try:
        with Guard()("kind", "line"):
            raise BrokenStr
    finally:
        logger.removeFilter(refuse)


def test_recursion_limit_in_the_guard_does_not_raise() -> None:
    def recurse() -> Any:
        with Guard()("kind", "line"):
            return recurse()

    recurse()
