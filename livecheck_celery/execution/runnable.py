"""The case that a runner runs, and the parts of the process that it uses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from celery.schedules import BaseSchedule

from livecheck_celery.errors import SuiteFailed
from livecheck_celery.execution.deadlines import Deadlines
from livecheck_celery.execution.drivers import Driver, Threads
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.execution.leases import Leases
from livecheck_celery.models import TestReport
from livecheck_celery.store import Store
from livecheck_celery.store.retry import Retry
from livecheck_celery.utils.interruption import Interruption


class Resources(NamedTuple):
    """The parts of the process that a runner uses."""

    store: Store
    inbox: Inbox
    leases: Leases
    deadlines: Deadlines
    threads: Threads
    retry: Retry
    interruption: Interruption


class RunnableCase(Protocol):
    """A case, as far as runners use it."""

    name: str
    active: bool
    frequency: float | BaseSchedule | None
    realtime_logs: bool
    max_runtime: float | None
    max_history: int
    max_consecutive_failures: int
    max_failure_rate: float
    failure_rate_window: float
    failure_rate_tests: int
    state_transition_delay: float
    #: Number of times a signal can arrive, by name, of the signals that have such a limit.
    signal_limits: dict[str, int]

    @property
    def runner_resources(self) -> Resources:
        """The parts of this process for the runners of the case."""

    @property
    def logger(self) -> logging.Logger:
        """Logger of the case."""

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The same logger; the lines of a test are kept until its verdict."""

    @property
    def signals(self) -> Mapping[str, Any]:
        """The signals of the case, by name."""

    @property
    def run(self) -> Callable[..., Any]:
        """The ``run()`` of the case, ``def`` or ``async def``."""

    @property
    def thread_driver(self) -> Driver:
        """The driver of code in a plain thread."""

    async def run_hook(self, driver: Driver, hook: Callable[..., Any], *args: Any, cancellable: bool = False) -> None:
        """Call a hook; log what the hook raises, except the cancellation of a ``cancellable`` one."""

    async def fail_suite_by(self, driver: Driver, exc: SuiteFailed) -> None:
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
