"""A running test, as deadlines and spans use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from livecheck_celery.models import SignalEvent, TestExecution, TestReport


class RunningCase(Protocol):
    """The case of a running test."""

    @property
    def name(self) -> str:
        """Full name of the case."""

    @property
    def run(self) -> Callable[..., Any]:
        """The ``run()`` of the case, ``def`` or ``async def``."""


class RunningTest(Protocol):
    """A runner, as far as deadlines and spans use it."""

    deadline: float
    error: BaseException | None
    overran: bool
    report: TestReport | None
    thread_id: int

    @property
    def case(self) -> RunningCase:
        """The case that is run."""

    @property
    def test(self) -> TestExecution:
        """The execution."""

    @property
    def arrived(self) -> list[SignalEvent]:
        """Signals that have arrived, the earliest first."""

    @property
    def signal_since_trigger(self) -> dict[str, float]:
        """Seconds from the trigger to each signal that has arrived."""

    def overrun(self) -> None:
        """Record TIMEOUT on a ``run()`` that is past its deadline."""
