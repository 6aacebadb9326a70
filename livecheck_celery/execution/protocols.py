"""Protocols: of a case, as runners use it, and of a runner, as deadlines and spans use it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from celery.schedules import BaseSchedule

from livecheck_celery.errors import SuiteFailed
from livecheck_celery.models import SignalEvent, TestExecution, TestReport


class RunnableCase(Protocol):
    """A case, as far as runners use it."""

    name: str
    active: bool
    frequency: float | BaseSchedule | None
    realtime_logs: bool
    max_runtime: float | None
    max_history: int
    max_consecutive_failures: int
    state_transition_delay: float

    @property
    def logger(self) -> logging.Logger:
        """Logger of the case."""

    @property
    def run(self) -> Callable[..., Any]:
        """The ``run()`` of the case, ``def`` or ``async def``."""

    def call_hook(self, hook: Callable[..., Any], *args: Any) -> None:
        """Call a hook; log what the hook raises."""

    def fail_suite(self, exc: SuiteFailed) -> None:
        """Record a failure of the suite, and call ``on_suite_fail``."""

    def post_report(self, report: TestReport) -> Any:
        """Publish a report."""

    def on_test_start(self, runner: Any) -> Any:
        """Run when a test starts."""

    def on_test_skipped(self, runner: Any) -> Any:
        """Run when a test is skipped."""

    def on_test_failed(self, runner: Any, exc: BaseException) -> Any:
        """Run when a contract of a test does not hold."""

    def on_test_error(self, runner: Any, exc: BaseException) -> Any:
        """Run when a test raises."""

    def on_test_timeout(self, runner: Any, exc: BaseException) -> Any:
        """Run when a signal does not arrive in time."""

    def on_test_pass(self, runner: Any) -> Any:
        """Run when a test passes."""


class RunningTest(Protocol):
    """A runner, as far as deadlines and spans use it."""

    deadline: float
    error: BaseException | None
    overran: bool
    report: TestReport | None
    thread_id: int

    @property
    def case(self) -> RunnableCase:
        """The case that is run."""

    @property
    def test(self) -> TestExecution:
        """The execution."""

    @property
    def is_async(self) -> bool:
        """Whether ``run()`` is a coroutine function."""

    @property
    def arrived(self) -> list[SignalEvent]:
        """Signals that have arrived, the earliest first."""

    @property
    def signal_since_trigger(self) -> dict[str, float]:
        """Seconds from the trigger to each signal that has arrived."""

    def overrun(self) -> None:
        """Record TIMEOUT on a ``run()`` that is past its deadline."""
