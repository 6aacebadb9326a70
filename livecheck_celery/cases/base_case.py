"""What the cases of both faces have in common (reference: ``faust.livecheck.case``)."""

from __future__ import annotations

import logging
import operator
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Final

from celery.schedules import BaseSchedule
from pydantic import ValidationError

from livecheck_celery.cases.base_signal import BaseSignal
from livecheck_celery.cases.clashes import check_attributes
from livecheck_celery.cases.declaration import (
    Declaration,
    bound_signals,
    class_options,
    description,
    face_of,
    resolve_options,
    with_given,
)
from livecheck_celery.cases.descriptors import PerCase, SuiteAttribute
from livecheck_celery.cases.hooks import call_hook, check_executed
from livecheck_celery.cases.logging import CaseLog, Diag
from livecheck_celery.cases.protocols import CaseApp
from livecheck_celery.cases.runner_class import make_runner
from livecheck_celery.cases.trigger import BaseTrigger, make_maybe_trigger
from livecheck_celery.config import OVERRIDABLE, CaseOptions, CaseSettings, UrlSettings
from livecheck_celery.context import current_test
from livecheck_celery.errors import ConfigurationError, RedisUnavailable, SuiteFailed, UnknownSignal
from livecheck_celery.execution.drivers import Driver, drive
from livecheck_celery.execution.runnable import Resources
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.execution.supervision import enter_override
from livecheck_celery.execution.test_log import write
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport
from livecheck_celery.store import Statistics
from livecheck_celery.utils.sanitize import get_logger, message_of, traceback_of
from livecheck_celery.utils.sentry import CASE, CAUSE
from livecheck_celery.utils.validation import explain_options

OPTIONS: Final = frozenset(CaseSettings.model_fields)


class BaseCase(CaseOptions, Declaration):
    """A test case of either face. Every attribute has the reference's meaning and default.

    All durations are seconds, and all times are Redis server time in seconds since the epoch. The attributes of the
    suite (``status``, histories, counters) are read from Redis at each access, and are the same in every process.

    `LiveCheck.case` creates the instance. The parameters are the reference's; ``kwargs`` are options of `CaseOptions`
    that the reference does not have. None means "not given", except for the options that can be None.

    Raises:
        ConfigurationError: an option or a signal is wrong.
    """

    #: Parent of the loggers of the cases: that of a case is ``livecheck_celery.case.<name of the case>``.
    logger: logging.Logger = get_logger("livecheck_celery.case")

    status = SuiteAttribute(
        lambda _, read: read.status, State.INIT, "State of the suite; STALL when tests are overdue."
    )
    last_test_received = SuiteAttribute[float | None](
        lambda _, read: read.last_test_received,
        None,
        "Time at which a test was last received, or the stalled check last warned.",
    )
    last_fail = SuiteAttribute[float | None](lambda _, read: read.last_fail, None, "Time of the last suite failure.")
    runtime_avg = SuiteAttribute[float | None](lambda _, read: read.runtime_avg, None, "Median of `runtime_history`.")
    latency_avg = SuiteAttribute[float | None](lambda _, read: read.latency_avg, None, "Median of `latency_history`.")
    frequency_avg = SuiteAttribute[float | None](
        lambda _, read: read.frequency_avg, None, "Median of `frequency_history`."
    )
    consecutive_failures = SuiteAttribute(
        lambda _, read: read.consecutive_failures, 0, "Failed tests since the last pass."
    )
    total_failures = SuiteAttribute(lambda _, read: read.total_failures, 0, "Failed tests in total.")
    frequency_history = SuiteAttribute[deque[float]](
        lambda case, read: deque(read.frequency_history, case.max_history), deque(), "Seconds between tests."
    )
    latency_history = SuiteAttribute[deque[float]](
        lambda case, read: deque(read.latency_history, case.max_history),
        deque(),
        "Seconds by which tests came later than `frequency`.",
    )
    runtime_history = SuiteAttribute[deque[float]](
        lambda case, read: deque(read.runtime_history, case.max_history), deque(), "Seconds passing tests ran."
    )
    total_by_state = SuiteAttribute[Counter[State]](
        lambda _, read: read.total_by_state, Counter(), "Verdicts in total, by state."
    )
    seconds_since_last_fail = SuiteAttribute[float | None](
        lambda _, read: read.seconds_since_last_fail, None, "Seconds since the last suite failure."
    )

    failure_rate = SuiteAttribute[float | None](
        lambda _, read: read.recent.rate, None, "Share of failed tests among the recent ones; see `max_failure_rate`."
    )
    failing_since = SuiteAttribute[float | None](
        lambda _, read: read.failing_since, None, "Time since which too many tests fail; None while they do not."
    )

    #: Runs the executions of the case.
    Runner: ClassVar[type[BaseRunner]]
    face_runner: ClassVar[type[BaseRunner]]
    #: Whether a running test holds a slot of its worker; otherwise it has a place on the event loop.
    holds_slot: ClassVar[bool] = True
    trigger: PerCase[BaseTrigger]
    maybe_trigger = PerCase(make_maybe_trigger)

    name: str
    app: CaseApp
    signals: dict[str, BaseSignal[Any]]
    total_signals: int
    signal_limits: dict[str, int]
    log: CaseLog
    diag: Diag
    exit_stack: ExitStack
    async_exit_stack: AsyncExitStack
    _declared: dict[str, Any]
    _given: frozenset[str]

    @with_given
    def __init__(
        self,
        *,
        app: CaseApp,
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
        url_timeout_total: timedelta | float | str | None = None,
        url_timeout_connect: timedelta | float | str | None = None,
        url_error_retries: int | None = None,
        url_error_delay_min: float | None = None,
        url_error_delay_backoff: float | None = None,
        url_error_delay_max: float | None = None,
        **kwargs: Any,
    ) -> None:
        given = {option: value for option, value in locals().items() if option in OPTIONS & self._given} | kwargs
        face = face_of(type(self))
        check_attributes(type(self), name, face)
        self.app = app
        self.name = name
        self._declared = {}
        settings = resolve_options(name, app, class_options(type(self), face), given)
        for option in OPTIONS:
            setattr(self, option, getattr(settings, option))
        self.signals = {}
        for attribute, signal in bound_signals(self, signals or (), face):
            self.signals[signal.name] = signal
            setattr(self, attribute, signal)
        self.total_signals = len(self.signals)
        enter_override(self, face)
        if self.logger is BaseCase.logger:  # not the subclass's own
            self.logger = get_logger(f"{BaseCase.logger.name}.{name}")
        self.signal_limits = {name: one.times for name, one in self.signals.items() if one.times is not None}
        self.log = CaseLog(self.logger, name)
        self.diag = Diag()
        self.exit_stack = ExitStack()
        self.async_exit_stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<{self.label}>"

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        raise ConfigurationError(f"case {self.name}: is not a class; inherit from a class that is not decorated")

    # -- to override

    def run(self, *test_args: Any, **test_kwargs: Any) -> Any:
        """Override this to define the test case."""
        raise NotImplementedError(f"case {self.name} has no run()")

    def make_fake_request(self) -> Any:
        """Override this to make a request every ``frequency`` seconds."""

    def on_test_start(self, runner: Any) -> Any:
        """Override this to act when a test starts executing."""

    def on_test_skipped(self, runner: Any) -> Any:
        """Override this to act when a test is skipped; ``runner.error`` has the reason."""

    def on_test_failed(self, runner: Any, exc: BaseException) -> Any:
        """Override this to act when a contract of a test does not hold."""

    def on_test_error(self, runner: Any, exc: BaseException) -> Any:
        """Override this to act when a test raises."""

    def on_test_timeout(self, runner: Any, exc: BaseException) -> Any:
        """Override this to act when a signal does not arrive in time."""

    def on_test_pass(self, runner: Any) -> Any:
        """Override this to act when a test passes."""

    def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> Any:
        """Mark the suite as failed; override this to act on it.

        Sets ``status`` and ``last_fail``; posts a report if the status was INIT, PASS or SKIP, or the last failure of
        the suite is older than ``state_transition_delay``. LiveCheck does this itself before it calls the hook.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        raise NotImplementedError

    def post_report(self, report: TestReport) -> Any:
        """Give a report to `LiveCheck.post_report`; override this to forward the reports of the case.

        LiveCheck stores the report in Redis before it calls the hook.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        raise NotImplementedError

    # -- running

    @property
    def runner_resources(self) -> Resources:
        """The parts of this process for the runners of the case."""
        return self.app.runtime.runner_resources

    def execute(self, test: TestExecution) -> Any:
        """Execute ``test`` by hand."""
        raise NotImplementedError

    def make_runner(self, test: TestExecution) -> BaseRunner:
        """Return a new runner of ``test``, of the class `Runner`."""
        return make_runner(self, test, self.Runner, self.face_runner)

    def execute_here(self, test: TestExecution) -> BaseRunner:
        """Execute ``test`` in this thread, by `execute`, and return the runner."""
        raise NotImplementedError

    def execute_on_worker(self, test: TestExecution, done: Callable[[BaseRunner], object]) -> BaseRunner | None:  # noqa: ARG002 - of the other face
        """Execute ``test`` on a worker.

        Returns:
            The runner; or None if the test has begun on the event loop, and ``done`` will be called with its runner.
        """
        return self.execute_here(test)

    def begin_on_worker(self, test: TestExecution, done: Callable[[BaseRunner], object]) -> bool:  # noqa: ARG002 - of the other face
        """Begin ``test`` on the event loop, if it needs no slot and there is a place; return whether it has begun."""
        return False

    def fail_suite(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        """Record a failure of the suite, then call `on_suite_fail`; log what the hook raises.

        It blocks; coroutines call it by ``asyncio.to_thread()``.

        Raises:
            RedisUnavailable: Redis did not answer for a minute.
        """
        drive(self.fail_suite_by(self.thread_driver, exc, new_state))

    @property
    def thread_driver(self) -> Driver:
        """The driver of code in a plain thread."""
        raise NotImplementedError

    async def run_hook(self, driver: Driver, hook: Callable[..., Any], *args: Any, cancellable: bool = False) -> None:
        """Call a hook; log what it raises, except the cancellation of a ``cancellable`` one."""
        deadlines, logger = self.app.runtime.deadlines, self.logger
        await call_hook(
            driver, hook, args, case_name=self.name, deadlines=deadlines, logger=logger, cancellable=cancellable
        )

    async def fail_suite_by(self, driver: Driver, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        """As `fail_suite`, by any driver."""
        call = self.app.runtime.retry if exc.waits_for_redis else operator.call
        if await self._account_suite_failure(driver, exc, new_state, call) or not exc.recurs:
            await self.run_hook(driver, self.on_suite_fail, exc, new_state)

    async def _account_suite_failure(
        self, driver: Driver, exc: BaseException, new_state: State, call: Any = operator.call
    ) -> bool:
        """Record a failure, which can be any exception, unless that was done; return whether it is reported."""
        accounted = vars(exc).get("accounted", frozenset())
        if self.name in accounted:
            return False
        text = message_of(exc) or type(exc).__name__
        report = TestReport(self.name, new_state, error=text, traceback=traceback_of(exc))
        store = self.app.runtime.store
        delay, token = self.state_transition_delay, uuid.uuid4().hex
        is_new = await driver.blocking(
            call,
            store.suites.fail,
            self.name,
            state=new_state,
            report=report,
            state_transition_delay=delay,
            token=token,
        )
        vars(exc)["accounted"] = accounted | {self.name}
        extra = {CASE: self.name, CAUSE: f"suite {new_state}: {type(exc).__name__}"}
        write(self.logger, logging.ERROR, "case %s: %s: %s", self.name, new_state, text, extra=extra)
        if is_new:
            at = await driver.blocking(call, store.time)
            await self.run_hook(driver, self.post_report, replace(report, at=at))
        return bool(is_new)

    async def _post_report(self, driver: Driver, report: TestReport) -> None:
        """Call ``post_report()`` of the LiveCheck, which can be of the other face."""
        name, posted = "LiveCheck.post_report()", await driver.blocking(self.app.post_report, report)
        check_executed(name, posted)
        await driver.result_of(name, posted)

    def _signal_of(self, event: SignalEvent) -> BaseSignal[Any]:
        signal = self.signals.get(event.signal_name)
        if signal is None:
            known = ", ".join(self.signals) or "none"
            raise UnknownSignal(f"case {self.name}: unknown signal {event.signal_name!r}; choose from: {known}")
        return signal

    def _service_answered(self) -> None:
        """Note that a URL has answered, so that a suite that failed by `ServiceDown` recovers."""
        recovered = self.app.runtime.store.suites.service_recovered
        try:
            self.app.runtime.retry(recovered, self.name, state_transition_delay=self.state_transition_delay)
        except RedisUnavailable as exc:  # the service has answered, which is what the caller asked
            self.logger.warning("case %s: status not updated: %s", self.name, exc)

    @property
    def url_settings(self) -> UrlSettings:
        """The six ``url_*`` options as one value."""
        return UrlSettings.of(self)

    # -- overrides

    def override(self, *, active: bool | None = None, probability: float | None = None) -> None:
        """Override options in every process, within 5 seconds; None restores the declared value.

        Raises:
            ConfigurationError: a value is wrong.
            RedisUnavailable: Redis did not answer.
        """
        given = {"active": active, "probability": probability}
        wanted = {option: value for option, value in given.items() if value is not None}
        CaseSettings.resolve(f"case {self.name}", (), wanted)
        self.app.runtime.store.registry.override(self.name, wanted)
        self.app.runtime.shared_config.refresh()

    def apply_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Apply ``overrides``, which `override` stored in Redis, to this process."""
        try:
            settings = CaseSettings.model_validate({key: overrides[key] for key in OVERRIDABLE if key in overrides})
        except ValidationError as exc:
            self.logger.warning(
                "case %s: ignoring invalid overrides in Redis: %s", self.name, explain_options(exc, OPTIONS)
            )
            return
        for option in OVERRIDABLE:
            if option in settings.model_fields_set:
                self._declared.setdefault(option, getattr(self, option))
                setattr(self, option, getattr(settings, option))
            elif option in self._declared:
                setattr(self, option, self._declared.pop(option))

    # -- reading

    def statistics(self) -> Statistics:
        """Read the statistics of the suite, in one round trip.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        stalled_after = self.warn_stalled_after if self.active else None
        return self.app.runtime.store.suites.statistics(self.name, stalled_after=stalled_after)

    def describe(self) -> dict[str, Any]:
        """Return the declared options and signals as JSON types, for processes that have not imported the case."""
        return description(self, {option: self._declared.get(option, getattr(self, option)) for option in OPTIONS})

    @property
    def current_test(self) -> TestExecution | None:
        """The test that the running code is part of, if any."""
        return current_test()

    @property
    def label(self) -> str:
        """Class and name of the case, for people."""
        return f"{type(self).__name__}: {self.name}"
