"""The Celery tasks of LiveCheck."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery, current_task
from celery.exceptions import Ignore, Reject
from pydantic import ValidationError

from livecheck_celery.cases.trigger import build, identified, weigh
from livecheck_celery.config import explain
from livecheck_celery.context import fake_request
from livecheck_celery.delivery.publisher import CASE_KEYWORD, EXECUTE, TEST_KEYWORD
from livecheck_celery.errors import (
    InvalidPayload,
    LiveCheckError,
    SuiteFailed,
    SuiteStalled,
    UnknownCase,
)
from livecheck_celery.execution.event_loop import finish
from livecheck_celery.execution.failures import describe
from livecheck_celery.models import EXECUTION, State, TestExecution, TestReport
from livecheck_celery.tasks.beat_schedule import FAKE_REQUEST, HEARTBEAT, RECOVER, STALLED, slot_of
from livecheck_celery.tasks.fake_requests import Held, make_up
from livecheck_celery.tasks.heartbeat import beat_once
from livecheck_celery.tasks.recovery import sweep
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case
    from livecheck_celery.execution.runner import TestRunner
    from livecheck_celery.livecheck import LiveCheck

logger = get_logger(__name__)


def install(app: Celery, suites: Sequence[LiveCheck]) -> None:
    """Register the tasks on ``app``; they serve the cases of ``suites``, which may still grow."""
    tasks = Tasks(suites)
    execute = _with_errors_in_one_line(EXECUTE, tasks.execute)
    app.task(name=EXECUTE, shared=False, max_retries=None, serializer="json")(execute)
    for name, task in (
        (FAKE_REQUEST, tasks.make_fake_request),
        (STALLED, tasks.check_stalled),
        (RECOVER, tasks.recover),
        (HEARTBEAT, tasks.heartbeat),
    ):
        # Nobody waits for the result; said here, as not every scheduler sends what an entry says of it.
        app.task(name=name, shared=False, ignore_result=True, serializer="json")(_with_errors_in_one_line(name, task))


class Tasks:
    """What the tasks do, for the cases of ``suites``."""

    def __init__(self, suites: Sequence[LiveCheck]) -> None:
        self._suites = suites

    def execute(self, *args: Any, **kwargs: Any) -> str:
        """Execute a test; the name of its verdict."""
        name = kwargs.pop(CASE_KEYWORD, None)
        carried = kwargs.pop(TEST_KEYWORD, None)
        try:
            case = self._case(name)
            runner = case.execute(_requested(case, carried, args, kwargs))
        except (UnknownCase, InvalidPayload) as exc:
            self._refuse(str(name), exc)
            return State.ERROR.value
        if runner.handed_back:
            raise _for_another_worker(runner)
        return runner.state.value

    def make_fake_request(self, **kwargs: Any) -> None:
        """Make the fake request of a case, once in each period, however many beats there are."""
        case = self._case(kwargs.get(CASE_KEYWORD))
        if not case.active or case.frequency is None:
            return
        token, lease = uuid.uuid4().hex, case.app.leases.lease
        if not case.app.store.schedule_runs.claim(case.name, slot_of(case.frequency), token=token, lease=lease):
            return
        with Held(case.app.store, case.name, token, lease=lease):
            try:
                with fake_request(case.name):
                    finish(case.make_fake_request())
            except Exception as exc:
                logger.exception("case %s: make_fake_request() raised", case.name)
                case.fail_suite(SuiteFailed(f"make_fake_request() raised {describe(exc)}"), State.ERROR)

    def check_stalled(self, **_: Any) -> None:
        """Fail the suite of each case that received no test for too long."""
        for suite in self._suites:
            cases = dict(suite.cases)
            limits = {name: case.warn_stalled_after if case.active else None for name, case in cases.items()}
            for name, since in suite.store.suites.stalled(limits).items():
                warning = f"no test received for {since:.1f} s (limit {limits[name]:g} s)"
                cases[name].fail_suite(SuiteStalled(warning), State.STALL)
            suite.store.liveness.schedules_seen()

    def heartbeat(self) -> None:
        """Tell an outside dead-man's switch that all is well, if it is."""
        for suite in self._suites:
            beat_once(suite)

    def recover(self) -> None:
        """See to the executions, and to the fake requests, that nobody finished."""
        for suite in self._suites:
            for name in suite.store.executions.cases_due(list(suite.cases)):
                sweep(suite.cases[name])
            make_up(suite)
            suite.store.liveness.schedules_seen()

    def _case(self, name: Any) -> Case:
        known = [suite.cases for suite in self._suites] if isinstance(name, str) else []
        case = next((cases[name] for cases in known if name in cases), None)
        if case is None:
            raise UnknownCase(f"no case {name!r:.200} is declared in this worker; name its module in imports or cases")
        return case

    def _refuse(self, case_name: str, error: UnknownCase | InvalidPayload) -> None:
        """Log and report a message that cannot be executed; it is not tried again."""
        logger.error("refused a message: %s", error)
        report = TestReport(case_name, State.ERROR, error=str(error))
        self._suites[0].store.reports.post(report, unknown_case=isinstance(error, UnknownCase))


def _for_another_worker(runner: TestRunner) -> Exception:
    """Send the message again, to whoever takes it; what tells Celery so.

    By Celery's own retry, so that who waits for the result, or comes next in a chain, waits for the verdict.
    """
    kwargs = {CASE_KEYWORD: runner.case.name, TEST_KEYWORD: EXECUTION.dump_python(runner.test, mode="json")}
    try:
        again: Exception = current_task.retry(args=(), kwargs=kwargs, countdown=0, throw=False)
    except Reject as exc:
        logger.warning("%s: not handed back, recovery will see to it: %s", runner.test.ident, exc.args[0])
        return Ignore()
    logger.info("%s: handed back, this worker is stopping", runner.test.ident)
    return again


def _with_errors_in_one_line(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, for which Redis or the broker being away is one line in the log: recovery or beat tries again."""

    def task(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except LiveCheckError as exc:
            logger.error("%s: %s", name, exc)  # noqa: TRY400
            return None

    return task


def _requested(case: Case, carried: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TestExecution:
    if carried is None:  # from a chain, a group or a link, which know the arguments only now
        test_id, args, kwargs = identified(args, kwargs)
        # A message that the broker delivers twice is one test.
        test = build(
            case, test_id if test_id is not None or not current_task else current_task.request.id, args, kwargs
        )
        weigh(case, test)
        return test
    try:
        return EXECUTION.validate_python(carried)
    except ValidationError as exc:
        raise InvalidPayload(f"a message for case {case.name} carries no execution: {explain(exc)}") from exc
