"""The current test and fake request, in context variables: each thread, greenlet and coroutine has its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from livecheck_celery.models import TestExecution

current_test_var: ContextVar[TestExecution | None] = ContextVar("livecheck_current_test", default=None)
#: Name of the case whose fake request the running code is part of.
synthetic_case_var: ContextVar[str | None] = ContextVar("livecheck_synthetic_case", default=None)
#: Tests triggered in the current request or task: a list set by the code that handles the request or task.
triggered_var: ContextVar[list[TestExecution] | None] = ContextVar("livecheck_triggered", default=None)


def current_test() -> TestExecution | None:
    """Return the test that the running code is part of, if any."""
    return current_test_var.get()


def tests_here() -> list[TestExecution]:
    """Return the current test, and the tests triggered so far in the current request or task."""
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
    """Mark everything the block causes as a fake request for ``case_name``."""
    token = synthetic_case_var.set(case_name)
    try:
        yield
    finally:
        synthetic_case_var.reset(token)
