"""The Celery tasks of LiveCheck."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Final

from celery import Celery, current_task
from celery.app.task import Context
from celery.exceptions import Ignore
from celery.signals import task_revoked
from pydantic import ValidationError

from livecheck_celery.cases.arguments import build, check_size, split_id
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.delivery.message_options import from_request
from livecheck_celery.delivery.publisher import CASE_KEYWORD, EXECUTE, LAYOUT_KEYWORD, PREFIX_KEYWORD, TEST_KEYWORD
from livecheck_celery.errors import (
    BrokerUnavailable,
    InvalidPayload,
    LiveCheckError,
    RedisUnavailable,
    SuiteStalled,
    TestOutcome,
    UnknownCase,
)
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.models import EXECUTION, State, TestExecution, TestReport, id_of
from livecheck_celery.store.counters import FOREIGN
from livecheck_celery.tasks.beat_schedule import FAKE_REQUEST, HEARTBEAT, RECOVER, STALLED
from livecheck_celery.tasks.each import all_of, each, each_at_once
from livecheck_celery.tasks.fake_requests import make_fake_request, resend_lapsed, scheduled_cases
from livecheck_celery.tasks.late_results import finish_task, late_result
from livecheck_celery.tasks.own_task import OwnTask
from livecheck_celery.tasks.protocols import Installed, stall_limits
from livecheck_celery.tasks.recovery import Queues, revoke, sweep
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger
from livecheck_celery.utils.validation import explain

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds after the grace period in which a test can be handed back, and between attempts.
_HAND_BACK_WITHIN: Final = 1.5
_RETRY_EVERY: Final = 0.05


def install(app: Celery, livechecks: Sequence[Installed]) -> None:
    """Register the tasks on ``app``; they serve the cases of ``livechecks``, which can still grow."""
    tasks = Tasks(livechecks)
    execute = _with_logged_errors(EXECUTE, tasks.execute)
    register: Any = partial(app.task, base=OwnTask, livechecks=livechecks, shared=False)
    hooks = {"before_terminate": staticmethod(tasks.take_over), "begin": staticmethod(tasks.begin)}
    register(name=EXECUTE, max_retries=None, **hooks)(execute)
    for name, task in (
        (FAKE_REQUEST, tasks.make_fake_request),
        (STALLED, tasks.check_stalled),
        (RECOVER, tasks.recover),
        (HEARTBEAT, tasks.heartbeat),
    ):
        # ignore_result here, since some schedulers do not send the options of an entry.
        register(name=name, ignore_result=True)(_with_logged_errors(name, task))

    def on_revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
        if sender.name == EXECUTE and sender.app is app and not expired:
            tasks.revoked(request)

    task_revoked.connect(on_revoked, weak=False)


class ForeignMessage(LiveCheckError):
    """A message of another environment, which recovers its tests itself."""


class Tasks:
    """The bodies of the tasks, for the cases of ``livechecks``."""

    def __init__(self, livechecks: Sequence[Installed]) -> None:
        self._livechecks = livechecks

    def execute(self, *args: Any, **kwargs: Any) -> str:
        """Execute a test; return the name of its verdict."""
        if (late := late_result()) is not None:
            return late
        name, prefix, carried = (kwargs.pop(each, None) for each in (CASE_KEYWORD, PREFIX_KEYWORD, TEST_KEYWORD))
        kwargs.pop(LAYOUT_KEYWORD, None)  # the message filter has checked it
        try:
            case = self._case(name, prefix)
            request = current_task.request if current_task else None
            runner = self._start(case, _parse(case, carried, args, kwargs, request))
        except (UnknownCase, InvalidPayload) as exc:
            self._refuse(str(name), exc)
            return State.ERROR.value
        report = None if runner is None else _report_of(case, runner)
        if runner is None or report is None:
            # Another message of the same task id has, had or will have the verdict; its result must stand.
            raise Ignore
        if _is_eager() and not report.state.is_ok():
            _propagate(case, runner.error)
        return report.state.value

    def _start(self, case: BaseCase, test: TestExecution) -> BaseRunner | None:
        """Execute a test; return its runner, or None if it has begun on the event loop."""
        if _is_eager():
            case.app.runtime.request_store.time()  # raises soon; a worker would retry for a minute
            return case.execute_here(test)
        return case.execute_on_worker(test, _finisher(case, copy(current_task.request) if current_task else None))

    def begin(self, request: Any) -> bool:
        """Begin the test of a message on the event loop, without a slot; return whether it has begun.

        Not that of a sync case, nor of a message of a chain, whose mark Celery's signals bring, nor if the message
        cannot be executed or there is no place: the task then does the rest.
        """
        try:
            context = request.context()
            case = self._declared(context.kwargs.get(CASE_KEYWORD), context.kwargs.get(PREFIX_KEYWORD))
            carried = context.kwargs.get(TEST_KEYWORD)
            if case is None or case.holds_slot or carried is None:
                return False
            test = _parse(case, carried, (), {}, context)
        except (LiveCheckError, AttributeError, TypeError, ValueError):
            return False
        # In a context of its own: this thread can be that of a task, or of another test.
        return contextvars.Context().run(case.begin_on_worker, test, _finisher(case, context))

    def revoked(self, request: Any) -> None:
        """Record SKIP for the test of a task that was revoked, so that the verdict agrees with the task's state."""
        if (found := self._carried_by(request)) is not None:
            # In a thread, since the signal comes from the worker's loop, and Redis can be slow.
            conclude = _with_logged_errors(EXECUTE, revoke)
            with suppress(RuntimeError):  # threads cannot be started: the sweep records it
                threading.Thread(target=conclude, args=found, name="livecheck-revoked", daemon=True).start()

    def take_over(self, request: Any) -> None:
        """Take the test of a task that is about to be terminated from the process that executes it."""
        if (found := self._carried_by(request)) is not None:
            case, test, token = found
            _with_logged_errors(EXECUTE, case.app.runtime.store.executions.revoke)(test, token)

    def _carried_by(self, request: Any) -> tuple[BaseCase, TestExecution, str] | None:
        """Return the case, the test and the token that revokes it; None if the message has no recorded test."""
        carried = request.kwargs.get(TEST_KEYWORD)
        if carried is None:
            return None
        try:
            case = self._case(request.kwargs.get(CASE_KEYWORD), request.kwargs.get(PREFIX_KEYWORD))
            return case, _parse(case, carried, (), {}, None), f"revoked:{request.id}"
        except LiveCheckError as exc:
            throttled.warning("tasks: a revoked test keeps its verdict: %s", exc)
            return None

    def make_fake_request(self, **kwargs: Any) -> None:
        """Make the fake request of a case, once in each period, however many beats run."""
        make_fake_request(self._case(kwargs.get(CASE_KEYWORD), kwargs.get(PREFIX_KEYWORD)))

    def check_stalled(self, **_: Any) -> None:
        """Fail the suite of each case that received no test for ``warn_stalled_after`` seconds."""
        all_of(self._livechecks, self._check_stalled)

    def heartbeat(self) -> None:
        """Ping the external dead-man's switch."""
        # Imported when first needed: one worker pings, and importing the HTTP client takes long.
        from livecheck_celery.tasks.heartbeat import ping  # noqa: PLC0415 - see above

        all_of(self._livechecks, ping)

    def recover(self) -> None:
        """Recover the executions and the fake requests that no worker finished."""
        all_of(self._livechecks, self._recover)

    def _check_stalled(self, livecheck: Installed) -> None:
        limits, store = stall_limits(livecheck), livecheck.runtime.store
        stalled = store.suites.stalled(limits, everything=store.liveness.has_earlier_stall_checks())

        def warn(name: str) -> None:
            warning = f"no test received for {stalled[name]:.1f} s (limit {limits[name]:g} s)"
            livecheck.cases[name].fail_suite(SuiteStalled(warning), State.STALL)

        each_at_once("stalled check", stalled, warn)
        store.liveness.schedules_seen()

    def _recover(self, livecheck: Installed) -> None:
        store, queues = livecheck.runtime.store, Queues(livecheck.runtime.publisher.has_messages)
        due = store.executions.open_cases.due(list(livecheck.cases), scheduled_cases(livecheck))
        try:
            each("recovery", due.executions, lambda name: sweep(livecheck.cases[name], queues))
        finally:  # the runs of fake requests do not wait for a case whose sweep fails
            resend_lapsed(livecheck, due.runs)
        store.liveness.schedules_seen()

    def _case(self, name: Any, prefix: Any) -> BaseCase:
        """Return the case of a message; ``prefix`` is None in a message of an earlier version.

        Raises:
            ForeignMessage: the message is of another environment.
            UnknownCase: the case is not declared.
        """
        if not self._of(prefix):
            self._livechecks[0].runtime.outbox.count(FOREIGN)
            raise ForeignMessage(
                f"a message of the environment with prefix {prefix!r:.80} came to the queue of this one; environments "
                "that share a broker need different values of livecheck_prefix, or of livecheck_queue and "
                "livecheck_schedule_queue"
            )
        case = self._declared(name, prefix)
        if case is None:
            raise UnknownCase(f"unknown case {name!r:.200}; add its module to this worker's imports or livecheck_cases")
        return case

    def _of(self, prefix: Any) -> list[Installed]:
        return [each for each in self._livechecks if prefix in (None, each.settings.prefix)]

    def _declared(self, name: Any, prefix: Any) -> BaseCase | None:
        known = [livecheck.cases for livecheck in self._of(prefix)] if isinstance(name, str) else []
        return next((cases[name] for cases in known if name in cases), None)

    def _refuse(self, case_name: str, error: UnknownCase | InvalidPayload) -> None:
        """Log and report a message that cannot be executed; it is not retried."""
        throttled.error("tasks: refused a message: %s", error, key=str(error))
        report = TestReport(case_name, State.ERROR, error=str(error))
        self._livechecks[0].runtime.store.reports.post(report, unknown_case=isinstance(error, UnknownCase))


def _is_eager() -> bool:
    """Return whether this task is executed by its caller, who can handle an error."""
    return bool(current_task and current_task.request.is_eager)


def _propagate(case: BaseCase, error: BaseException | None) -> None:
    """Raise the failure of a test that was executed eagerly, with ``task_eager_propagates``."""
    if error is not None and case.app.app.conf.task_eager_propagates:
        raise error


def _report_of(case: BaseCase, runner: BaseRunner) -> TestReport | None:
    """Return the report of the verdict that ``runner`` has recorded, if it has; hand its test back if it has to."""
    if runner.handed_back:
        _hand_back(case, runner.test)
    return runner.report


def _hand_back(case: BaseCase, test: TestExecution) -> None:
    """Re-send the message of a test for another worker, with its task id and its other options."""
    try:
        _execute_elsewhere(case, test)
    except BrokerUnavailable as exc:
        throttled.warning("tasks: %s: not handed back, recovery takes over: %s", test.ident, exc)
        with suppress(RedisUnavailable):  # then it is due later
            case.app.runtime.store.executions.make_due(case.name, [test.id])
    else:
        logger.info("tasks: %s: handed back: this worker is stopping", test.ident)


def _execute_elsewhere(case: BaseCase, test: TestExecution) -> None:
    """Publish the message of a test; retry for a moment, since all tests of a stopping worker take turns.

    Raises:
        BrokerUnavailable: the broker did not accept it.
    """
    runtime = case.app.runtime
    while True:
        try:
            runtime.publisher.execute(test)
        except BrokerUnavailable:
            if not -_HAND_BACK_WITHIN < runtime.interruption.remaining <= 0:
                raise
            time.sleep(_RETRY_EVERY)
        else:
            return


def _with_logged_errors(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` to log a LiveCheckError as one line; recovery or the next message of beat retries."""

    def task(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except LiveCheckError as exc:
            if isinstance(exc, TestOutcome | RedisUnavailable) and _is_eager():
                raise
            throttled.error("%s: %s", name, exc, key=f"{name} {type(exc).__name__}")
            return None

    return task


def _finisher(case: BaseCase, request: Context | None) -> Callable[[BaseRunner], object]:
    """Return what to call when the test of a ``request`` has ended on the event loop."""

    def finish(runner: BaseRunner) -> None:
        report = _report_of(case, runner)
        if report is not None and request is not None:
            finish_task(case.app.app, EXECUTE, request, report.state.value)

    return _with_logged_errors(EXECUTE, finish)


def _parse(
    case: BaseCase, carried: Any, args: tuple[Any, ...], kwargs: dict[str, Any], request: Context | None
) -> TestExecution:
    """Return the test of a message; ``request`` is None for a task that a worker revokes."""
    if carried is None:  # from a chain, a group or a link; no trigger has built an execution
        test_id, args, kwargs = split_id(args, kwargs)
        # The task id as test id, so that a message delivered twice is one test.
        test = build(case, id_of(test_id) or (request.id if request else None), args, kwargs)
        check_size(test, case.app.settings.max_payload)
    else:
        try:
            test = EXECUTION.validate_python(carried)
        except ValidationError as exc:
            raise InvalidPayload(f"a message for case {case.name} has no valid execution: {explain(exc)}") from exc
        if test.case_name != case.name:
            raise InvalidPayload(f"a message for case {case.name} has an execution of case {test.case_name!r:.200}")
    return replace(test, message_options=from_request(request)) if request else test
