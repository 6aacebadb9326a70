"""The runner that is executing a case here, and those around it: an ``execute()`` can call another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from livecheck_celery.models import TestExecution


class Nested(Protocol):
    """A runner, as far as it is one of several around each other.

    Attributes:
        outer: the runner around this one, if any.
        executed_by: the runner that has begun to execute the test, usually this one.
    """

    test: TestExecution
    outer: Any
    executed_by: Any

    @property
    def case(self) -> Any:
        """The case that is run."""


_current: ContextVar[Any] = ContextVar("livecheck_current_execution", default=None)


def current_runner() -> Any:
    """Return the innermost runner, if any."""
    return _current.get()


@contextmanager
def as_current(runner: Nested) -> Iterator[None]:
    """Make ``runner`` the innermost one for the block."""
    outer = _current.get()
    if outer is not runner:
        runner.outer = outer
    token = _current.set(runner)
    try:
        yield
    finally:
        _current.reset(token)


def note_execution(by: Nested) -> None:
    """Set ``executed_by`` of a runner that begins, and of those around it that were made for the same test."""
    each, by.executed_by = current_runner(), by
    while each is not None:
        if each.executed_by is None and (each.case, each.test.id) == (by.case, by.test.id):
            each.executed_by = by
        each = each.outer
