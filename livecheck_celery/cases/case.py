"""Cases: what a person writes, and sees over time (reference: ``faust.livecheck.case``)."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from celery.schedules import BaseSchedule
from pydantic import ValidationError

from livecheck_celery.cases import http
from livecheck_celery.cases.declaration import declared_signals
from livecheck_celery.cases.descriptors import Live, PerCase
from livecheck_celery.cases.logging import CaseLog, Diag
from livecheck_celery.cases.signals import BaseSignal, Signal
from livecheck_celery.cases.trigger import Trigger, by_chance
from livecheck_celery.config import CaseSettings, explain, seconds
from livecheck_celery.context import current_execution, current_test
from livecheck_celery.errors import ConfigurationError, ServiceDown, SuiteFailed, UnknownSignal
from livecheck_celery.execution.event_loop import finish
from livecheck_celery.execution.failures import trace
from livecheck_celery.execution.runner import TestRunner
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport
from livecheck_celery.store import Statistics
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

OPTIONS: Final = frozenset(CaseSettings.model_fields)
#: Those that can be changed at run time.
OVERRIDABLE: Final = ("active", "probability")


class Case:
    """LiveCheck test case. Every attribute has the reference's meaning and default.

    All durations are seconds and all times are seconds since the epoch, by Redis. What a suite has come to (``status``,
    histories, counters) is read from Redis when looked at, the same in every process.
    """

    Runner: ClassVar[type[TestRunner]] = TestRunner
    logger: ClassVar[logging.Logger] = get_logger(__name__)

    status = Live(lambda _, read: read.status, State.INIT, "Current state of this test; STALL once tests are overdue.")
    last_test_received = Live[float | None](
        lambda _, read: read.last_test_received,
        None,
        "When a test was last received, or the stalled check last gave warning.",
    )
    last_fail = Live[float | None](lambda _, read: read.last_fail, None, "When the suite last failed.")
    runtime_avg = Live[float | None](lambda _, read: read.runtime_avg, None, "Median of `runtime_history`.")
    latency_avg = Live[float | None](lambda _, read: read.latency_avg, None, "Median of `latency_history`.")
    frequency_avg = Live[float | None](lambda _, read: read.frequency_avg, None, "Median of `frequency_history`.")
    consecutive_failures = Live(lambda _, read: read.consecutive_failures, 0, "Failed tests since the last pass.")
    total_failures = Live(lambda _, read: read.total_failures, 0, "Failed tests ever.")
    frequency_history = Live[deque[float]](
        lambda case, read: deque(read.frequency_history, case.max_history), deque(), "Seconds between tests."
    )
    latency_history = Live[deque[float]](
        lambda case, read: deque(read.latency_history, case.max_history),
        deque(),
        "Seconds by which tests came later than `frequency` says.",
    )
    runtime_history = Live[deque[float]](
        lambda case, read: deque(read.runtime_history, case.max_history), deque(), "Seconds passing tests took."
    )
    total_by_state = Live[Counter[State]](lambda _, read: read.total_by_state, Counter(), "Verdicts ever, by state.")
    seconds_since_last_fail = Live[float | None](
        lambda _, read: read.seconds_since_last_fail, None, "Seconds since the suite last failed."
    )

    active: bool = True
    #: Probability of a test when live traffic is going through.
    probability: float = 0.5
    #: Seconds without any test after which the suite is stalled.
    warn_stalled_after: float = 1800.0
    test_expires: timedelta = timedelta(hours=3)
    #: Seconds between fake requests, or a Celery schedule; None for no fake requests.
    frequency: float | BaseSchedule | None = None
    realtime_logs: bool = False
    #: Seconds after which a ``run()`` that still runs is a TIMEOUT; None for when the test expires.
    max_runtime: float | None = None
    #: Most items in each history.
    max_history: int = 100
    max_consecutive_failures: int = 30
    #: Seconds after a failure of the suite in which a pass does not bring its status back.
    state_transition_delay: float = 60.0
    url_timeout_total: float | None = 300.0
    url_timeout_connect: float | None = None
    url_error_retries: int = 10
    url_error_delay_min: float = 0.5
    url_error_delay_backoff: float = 1.5
    url_error_delay_max: float = 5.0

    trigger = PerCase(Trigger)
    maybe_trigger = PerCase(by_chance)

    name: str
    app: LiveCheck
    signals: dict[str, BaseSignal[Any]]
    total_signals: int
    log: CaseLog
    diag: Diag

    def __init__(
        self,
        *,
        app: LiveCheck,
        name: str,
        probability: float | None = None,
        warn_stalled_after: timedelta | float | str | None = None,
        active: bool | None = None,
        signals: Iterable[BaseSignal[Any]] | None = None,
        test_expires: timedelta | float | str | None = None,
        frequency: timedelta | float | str | BaseSchedule | None = None,
        realtime_logs: bool | None = None,
        max_history: int | None = None,
        max_consecutive_failures: int | None = None,
        url_timeout_total: float | None = None,
        url_timeout_connect: float | None = None,
        url_error_retries: int | None = None,
        url_error_delay_min: float | None = None,
        url_error_delay_backoff: float | None = None,
        url_error_delay_max: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.name = name
        self._own: dict[str, Any] = {}
        arguments = {
            "probability": probability,
            "warn_stalled_after": warn_stalled_after,
            "active": active,
            "test_expires": test_expires,
            "frequency": frequency,
            "realtime_logs": realtime_logs,
            "max_history": max_history,
            "max_consecutive_failures": max_consecutive_failures,
            "url_timeout_total": url_timeout_total,
            "url_timeout_connect": url_timeout_connect,
            "url_error_retries": url_error_retries,
            "url_error_delay_min": url_error_delay_min,
            "url_error_delay_backoff": url_error_delay_backoff,
            "url_error_delay_max": url_error_delay_max,
            **kwargs,
        }
        settings = CaseSettings.resolve(f"case {name}", (self._class_attribute, *app.sources), arguments)
        for option in OPTIONS:
            setattr(self, option, getattr(settings, option))
        self.signals = {}
        for signal in (*declared_signals(type(self), name), *(signals or ())):
            self._add_signal(signal)
        self.total_signals = len(self.signals)
        self.log = CaseLog(self.logger, name)
        self.diag = Diag()
        self.exit_stack = ExitStack()
        self.async_exit_stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<{self.label}>"

    def _class_attribute(self, option: str) -> Any:
        classes = type(self).__mro__
        own = classes[: classes.index(Case)]
        return next((vars(cls)[option] for cls in own if option in vars(cls)), None)

    def _add_signal(self, signal: BaseSignal[Any]) -> None:
        if not signal.name:
            raise ConfigurationError(f"case {self.name}: a signal has no name")
        mine = signal.clone(case=self, index=len(self.signals) + 1)
        self.signals[signal.name] = mine
        setattr(self, signal.name, mine)

    # -- for people to write

    def run(self, *test_args: Any, **test_kwargs: Any) -> Any:
        """Override this, as ``def`` or ``async def``, to define the test case."""
        raise NotImplementedError(f"case {self.name} has no run()")

    def make_fake_request(self) -> Any:
        """Override this, as ``def`` or ``async def``, to make a request every ``frequency`` seconds."""

    def on_test_start(self, runner: TestRunner) -> Any:
        """Call when a test starts executing."""

    def on_test_skipped(self, runner: TestRunner) -> Any:
        """Call when a test is skipped; ``runner.error`` says why."""

    def on_test_failed(self, runner: TestRunner, exc: BaseException) -> Any:
        """Call when an invariant in a test does not hold."""

    def on_test_error(self, runner: TestRunner, exc: BaseException) -> Any:
        """Call when a test raises."""

    def on_test_timeout(self, runner: TestRunner, exc: BaseException) -> Any:
        """Call when a signal does not arrive in time."""

    def on_test_pass(self, runner: TestRunner) -> Any:
        """Call when a test passes."""

    def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> Any:
        """Call when the suite fails, or to say that it does.

        Sets ``status`` and ``last_fail``; reports when the status was OK, or the last failure of the suite is older
        than ``state_transition_delay``. Override it to be told; the accounting is done before and whatever it does.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._account_suite_failure(exc, new_state)

    def post_report(self, report: TestReport) -> Any:
        """Call with each report, or to publish one of your own.

        Override it to pass reports on; they are kept in Redis before and whatever it does.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        if report.at is None and self.app.settings.send_reports:
            self.app.store.reports.post(report)

    # -- running

    def execute(self, test: TestExecution) -> TestRunner:
        """Execute ``test`` here and now; the runner tells how it went.

        Raises:
            RedisUnavailable: Redis did not answer for a minute.
        """
        runner = self.Runner(self, test, started=time.monotonic())
        runner.execute()
        return runner

    def resolve_signal(self, key: str, event: SignalEvent) -> None:
        """Mark the signal that ``event`` names as resolved, for the test ``key``.

        Raises:
            UnknownSignal: the case has no such signal.
            RedisUnavailable: Redis did not answer.
        """
        signal = self.signals.get(event.signal_name)
        if not isinstance(signal, Signal):
            raise UnknownSignal(
                f"case {self.name} has no signal {event.signal_name!r}; it has: {', '.join(self.signals) or 'none'}"
            )
        signal.resolve(key, event)

    def fail_suite(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        """Account for a failure of the suite, then call `on_suite_fail`; what that raises is logged."""
        self._account_suite_failure(exc, new_state)
        self.call_hook(self.on_suite_fail, exc, new_state)

    def call_hook(self, hook: Callable[..., Any], *args: Any) -> None:
        """Call a hook, ``def`` or ``async def``; what it raises is logged, and changes nothing."""
        try:
            finish(hook(*args))
        except Exception:
            self.logger.exception("case %s: %s() raised", self.name, getattr(hook, "__name__", hook))

    def _account_suite_failure(self, exc: SuiteFailed, new_state: State) -> None:
        if exc.accounted:
            return
        report = TestReport(self.name, new_state, error=str(exc), traceback=trace(exc))
        reported = self.app.store.suites.fail(
            self.name, state=new_state, report=report, state_transition_delay=self.state_transition_delay
        )
        exc.accounted = True
        self.logger.error("case %s: %s: %s", self.name, new_state, exc)
        if reported:
            self.call_hook(self.post_report, replace(report, at=self.app.store.time()))

    # -- HTTP

    def get_url(self, url: str, **kwargs: Any) -> bytes | None:
        """`url_request` with GET."""
        return self.url_request("GET", url, **kwargs)

    def post_url(self, url: str, **kwargs: Any) -> bytes | None:
        """`url_request` with POST."""
        return self.url_request("POST", url, **kwargs)

    def url_request(self, method: str, url: str, **kwargs: Any) -> bytes | None:
        """Perform an HTTP request; the body, or None when the service is down.

        Carries the current test, and the mark of a fake request, to the hosts on ``http_hosts``. Retries as the
        ``url_*`` settings say; then the suite fails with `ServiceDown`.

        Args:
            method: HTTP method.
            url: where to.
            kwargs: as for ``requests.Session.request``.
        """
        try:
            with self.app.session() as session:
                body = http.fetch(method, url, settings=self._http_settings, session=session, **kwargs)
        except ServiceDown as exc:
            self.fail_suite(exc)
            return None
        self.app.store.suites.service_recovered(self.name, state_transition_delay=self.state_transition_delay)
        return body

    @property
    def _http_settings(self) -> http.HttpSettings:
        return http.HttpSettings(
            timeout_total=self.url_timeout_total,
            timeout_connect=self.url_timeout_connect,
            retries=self.url_error_retries,
            delay_min=self.url_error_delay_min,
            backoff=self.url_error_delay_backoff,
            delay_max=self.url_error_delay_max,
        )

    # -- changing at run time

    def override(self, *, active: bool | None = None, probability: float | None = None) -> None:
        """Use these settings instead of the declared ones, in every process, within 5 seconds; None for the declared.

        Raises:
            ConfigurationError: a value is wrong.
            RedisUnavailable: Redis did not take them.
        """
        given = {"active": active, "probability": probability}
        wanted = {option: value for option, value in given.items() if value is not None}
        CaseSettings.resolve(f"case {self.name}", (), wanted)
        self.app.store.registry.override(self.name, wanted)
        self.app.watch.refresh()

    def use(self, overrides: Mapping[str, Any]) -> None:
        """Use what `override` wrote down, in this process."""
        try:
            settings = CaseSettings.model_validate({key: overrides[key] for key in OVERRIDABLE if key in overrides})
        except ValidationError as exc:
            self.logger.warning("case %s: overrides in Redis are ignored: %s", self.name, explain(exc))
            return
        for option in OVERRIDABLE:
            if option in settings.model_fields_set:
                self._own.setdefault(option, getattr(self, option))
                setattr(self, option, getattr(settings, option))
            elif option in self._own:
                setattr(self, option, self._own.pop(option))

    # -- looking

    def statistics(self) -> Statistics:
        """All that Redis knows of the suite, in one round trip.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return self.app.store.suites.statistics(
            self.name, stalled_after=self.warn_stalled_after if self.active else None
        )

    def describe(self) -> dict[str, Any]:
        """The settings, as JSON; for processes that have not imported the case."""
        settings = {option: _plain(self._own.get(option, getattr(self, option))) for option in sorted(OPTIONS)}
        sources = {name: signal.source for name, signal in self.signals.items() if signal.source}
        return {
            "name": self.name,
            **settings,
            "signals": list(self.signals),
            "sources": sources,
            "total_signals": self.total_signals,
        }

    @property
    def current_test(self) -> TestExecution | None:
        """The test that the code running now is part of, if any."""
        return current_test()

    @property
    def current_execution(self) -> TestRunner | None:
        """The runner executing a case here, if any."""
        return current_execution()

    @property
    def label(self) -> str:
        """Human-readable label for this test case."""
        return f"{type(self).__name__}: {self.name}"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseSchedule):
        return str(value)
    return seconds(value)
