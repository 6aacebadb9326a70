"""What the code running right now is part of.

Context variables, so each thread, greenlet and coroutine has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from livecheck_celery.models import TestExecution

if TYPE_CHECKING:
    from livecheck_celery.execution.runner import TestRunner

current_test_var: ContextVar[TestExecution | None] = ContextVar("livecheck_current_test", default=None)
current_execution_var: ContextVar[TestRunner | None] = ContextVar("livecheck_current_execution", default=None)
#: Name of the case whose fake request this is.
synthetic_case_var: ContextVar[str | None] = ContextVar("livecheck_synthetic_case", default=None)
#: Tests triggered in the request or task being handled: a list, which who handles it put there.
triggered_var: ContextVar[list[TestExecution] | None] = ContextVar("livecheck_triggered", default=None)

__all__ = [
    "Token",
    "current_execution",
    "current_execution_var",
    "current_test",
    "current_test_var",
    "fake_request",
    "synthetic_case_var",
    "tests_here",
    "triggered_var",
    "under_test",
]


def current_test() -> TestExecution | None:
    """The test that the code running now is part of, if any."""
    return current_test_var.get()


def current_execution() -> TestRunner | None:
    """The runner executing a case here, if any; only inside ``run()``."""
    return current_execution_var.get()


def tests_here() -> list[TestExecution]:
    """The current test, and those triggered so far in the request or task being handled."""
    test, triggered = current_test_var.get(), triggered_var.get() or ()
    return [*triggered] if test is None or test in triggered else [test, *triggered]


@contextmanager
def under_test(test: TestExecution) -> Iterator[TestExecution]:
    """Make ``test`` the current test for the block."""
    token = current_test_var.set(test)
    try:
        yield test
    finally:
        current_test_var.reset(token)


@contextmanager
def fake_request(case_name: str) -> Iterator[None]:
    """Mark what the block causes as a fake request made for ``case_name``."""
    token = synthetic_case_var.set(case_name)
    try:
        yield
    finally:
        synthetic_case_var.reset(token)
