"""Runner of one execution, which ends in one verdict (reference: ``livecheck.runners.TestRunner``).

Its steps are coroutines, which a driver executes in a plain thread or on an event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, cast

from celery.schedules import BaseSchedule

from livecheck_celery.context import under_test
from livecheck_celery.errors import (
    LiveCheckError,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    RedisUnavailable,
    TestOutcome,
)
from livecheck_celery.execution.contract import check_arrivals
from livecheck_celery.execution.deadlines import place_in_run
from livecheck_celery.execution.drivers import Driver, drive
from livecheck_celery.execution.failures import describe, log_verdict
from livecheck_celery.execution.inbox import Interrupted
from livecheck_celery.execution.leases import Held
from livecheck_celery.execution.mailboxes import Mailboxes
from livecheck_celery.execution.nesting import as_current, current_runner, note_execution
from livecheck_celery.execution.places import in_brackets
from livecheck_celery.execution.readable import readable
from livecheck_celery.execution.recorded_asserts import record_asserts
from livecheck_celery.execution.results import unexecuted
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.execution.runner_hooks import RunnerHooks
from livecheck_celery.execution.spans import traced
from livecheck_celery.execution.typed_arguments import call_run
from livecheck_celery.execution.verdicts import (
    is_cancellation,
    is_hand_back,
    is_process_exit,
    outcome_of,
    suite_failure,
    verdict_of,
)
from livecheck_celery.execution.waiting import Wait
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport, id_of
from livecheck_celery.store import Claim
from livecheck_celery.store.statistics import FailureLimits
from livecheck_celery.utils import clock
from livecheck_celery.utils.forks import EndForkedChildren
from livecheck_celery.utils.sanitize import get_logger, traceback_of
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds after its deadline in which a test can still wait, after an outage.
_WAIT_GRACE: Final = 0.4


def current_execution() -> BaseRunner | None:
    """Return the runner that is executing a case here, if any: in ``execute()``, ``run()``, and hooks."""
    return cast("BaseRunner | None", current_runner())


class BaseRunner(RunnerHooks):
    """One execution of ``case``, in either face.

    Attributes:
        case: the case that is run.
        test: the execution.
        state: INIT until there is a verdict.
        started: monotonic time of the start.
        ended: monotonic time of the verdict.
        runtime: seconds from the start to the verdict; None if ``run()`` was not called here.
        signal_latency: seconds ``wait()`` waited for each signal.
        report: the report, once there is a verdict; None when another runner's verdict was first.
        error: the failure, if any; of a group, the exception that decides the verdict.
        deadline: monotonic time at which the test expires, or has run for ``max_runtime``.
        overran: whether the verdict TIMEOUT was recorded before ``run()`` returned.
        thread_id: id of the thread that executes the test.
        handed_back: whether this process stopped before a verdict, so that another worker runs the test.
        outcome: the verdict as an exception, as `execute` raises it; None for PASS, and without a verdict.
        failure: what ended the execution without a verdict, such as `RedisUnavailable`.
        executed_by: the runner that has executed the test, usually this one; None if none has begun.
        finished: done when the execution has ended, with or without a verdict.
        outer: the runner in whose ``execute()`` or ``run()`` this one executes its test, if any.
        is_running: whether the test has been claimed and has not ended, so that signals can be awaited.
    """

    __test__ = False  # keeps pytest from collecting it

    def __init__(self, case: RunnableCase, test: TestExecution, started: float) -> None:
        super().__init__()
        self.case = case
        self.test = test
        self.started = started
        self.ended: float | None = None
        self.runtime: float | None = None
        self.state = State.INIT
        self.signal_latency: dict[str, float] = {}
        self.report: TestReport | None = None
        self.error: BaseException | None = None
        self.deadline = started
        self.overran = False
        self.thread_id = threading.get_ident()
        self.handed_back = False
        self.outcome: TestOutcome | None = None
        self.failure: BaseException | None = None
        self.executed_by: BaseRunner | None = None
        self.finished: Future[None] = Future()
        self.is_running = False
        self.outer: BaseRunner | None = None
        self._was_called = False
        self._process = case.runner_resources
        self._last_received: str | None = None
        self._token = uuid.uuid4().hex
        self._recorded_at = 0.0
        self._redis_ahead = 0.0
        self._ended = threading.Lock()  # acquired by the first to end the test
        self._mailboxes = Mailboxes(self._process.inbox, self._process.store, self._process.retry)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.test.shortident}: {self.state}>"

    @property
    def is_complete(self) -> bool:
        """Whether ``__init__`` of this class was called, by a subclass that has its own."""
        return hasattr(self, "_mailboxes")

    def waits_for(self, case: object, test: TestExecution) -> bool:
        """Return whether this runner is for ``test`` of ``case``, and no runner has begun to execute it."""
        return self.executed_by is None and self.case is case and self.test == test

    async def _execute(self, driver: Driver) -> State:
        """Execute the test; return PASS or INIT, and raise any other verdict. See `livecheck_celery.TestRunner`."""
        await self.execute_by(driver)
        if self.outcome is None:
            return self.state
        cause = self.outcome.__cause__
        raise cause if cause is not None and is_cancellation(cause) else self.outcome

    async def execute_by(self, driver: Driver, *, in_place_of_run: BaseException | None = None) -> None:
        """Claim the execution, run it, record the verdict.

        Args:
            driver: of the face.
            in_place_of_run: what decides the verdict, of a test whose ``run()`` is not called.

        Raises:
            RedisUnavailable: Redis did not answer for a minute; recovery takes over the execution.
        """
        note_execution(self)
        process, held = self._process, self._held
        record_asserts(type(self.case))
        try:
            claim = await driver.blocking(self._claim)
            if claim.outcome in ("done", "busy"):
                logger.debug("runner: %s: %s; nothing to do", self.test.ident, claim.outcome)
                return
            self.is_running = True
            process.leases.hold(held)
            process.deadlines.add(self)
            with traced(self), self._current():
                await self._judge(driver.in_one_context(), claim, in_place_of_run)
        except BaseException as exc:
            if not self.is_interrupted(exc):
                self.failure = exc
                raise
            await driver.blocking(self._hand_back)
            if is_process_exit(exc):
                raise
        finally:
            self.is_running = False
            process.deadlines.remove(self)
            process.leases.drop(held)
            self._mailboxes.close()
            if not self.finished.done():
                self.finished.set_result(None)

    def conclude(self, token: str, state: State, error: LiveCheckError) -> None:
        """Record the verdict of an execution that no runner finished; ``token`` is that of the sweep."""
        self._token = token
        with traced(self):
            drive(self._end(self.case.thread_driver, state, error))

    def overrun(self) -> None:
        """Record TIMEOUT for a ``run()`` that is past its deadline; sets ``overran`` if there was no verdict.

        Raises:
            RedisUnavailable: Redis did not answer for a minute; recovery takes over the execution.
        """
        took = f"after {self.deadline - self.started:.1f} s"
        why = "when the test expired" if self.case.max_runtime is None else took
        error = LiveCheckTestTimeout(f"run() was still running {why}{in_brackets(place_in_run(self))}")
        try:
            with self._current():
                self.overran = drive(self._end(self.case.thread_driver, State.TIMEOUT, error))
        finally:
            self._process.leases.drop(self._held)

    # -- signals

    def expect(self, case_name: str, signal_name: str, key: object) -> Future[SignalEvent]:
        """Return a future of a signal of a case, sent to the test ``key`` or to the test being executed."""
        ttl = max(1.0, self.deadline - time.monotonic())
        return self._mailboxes.expect(case_name, signal_name, id_of(key) or self.test.id, ttl=ttl)

    def is_open(self, case_name: str, key: object) -> bool:
        """Return whether `expect` need not ask Redis."""
        return self._mailboxes.is_open(case_name, id_of(key) or self.test.id)

    def wait(self, future: Future[SignalEvent], limit: float) -> Wait:
        """Begin to wait for a future that `expect` returned, for ``limit`` seconds, and until the test expires."""
        return Wait(
            self._process.inbox,
            future,
            limit=limit,
            latest=self.deadline + _WAIT_GRACE,
            redis_ahead=self._redis_ahead,
        )

    def forget(self, case_name: str, signal_name: str, key: object, future: Future[SignalEvent]) -> None:
        """Drop a future that `expect` returned."""
        self._mailboxes.forget(case_name, signal_name, id_of(key) or self.test.id, future)

    @property
    def arrived(self) -> list[SignalEvent]:
        """The signals of the test that have arrived, the earliest first."""
        return self._mailboxes.arrived(self.case.name, self.test.id)

    @property
    def signal_since_trigger(self) -> dict[str, float]:
        """Seconds from the trigger to each signal that has arrived, the earliest first.

        0 for a signal that reached Redis before the trigger did.
        """
        return {
            event.signal_name: max(0.0, (event.first_at or event.received_at or 0.0) - self._recorded_at)
            for event in self.arrived
        }

    def received(self, signal_name: str, seconds: float) -> None:
        """Note that ``wait()`` has received a signal, after it waited ``seconds``."""
        self.signal_latency[signal_name] = seconds
        self._last_received = signal_name

    # -- the steps of execute()

    def _claim(self) -> Claim:
        case, process = self.case, self._process
        self._mailboxes.open(case.name, self.test.id)
        asked = time.monotonic()
        claim = process.retry(
            process.store.executions.claim,
            self.test,
            token=self._token,
            address=process.inbox.address,
            lease=process.leases.lease,
            active=case.active,
            frequency=None if isinstance(case.frequency, BaseSchedule) else case.frequency,
            max_history=case.max_history,
            expires_in=max(0.0, (self.test.expires - clock.now()).total_seconds()),
            limits=case.signal_limits,
        )
        self.test = self.test.used_at(claim.use)  # so that its signals belong to the record
        self.started = time.monotonic()
        self.deadline = self.started + claim.expires_at - claim.now
        if case.max_runtime is not None:
            self.deadline = min(self.deadline, self.started + case.max_runtime)
        self._recorded_at = claim.recorded_at
        self._redis_ahead = claim.now - asked
        self._mailboxes.deliver(case.name, self.test.id, claim.signals.values())
        return claim

    @property
    def _held(self) -> Held:
        return self.case.name, self.test.id, self._token

    @contextmanager
    def _current(self) -> Iterator[None]:
        with as_current(self), under_test(self.test, expires=False):  # the runner's deadline is in Redis' time
            yield

    async def _judge(self, driver: Driver, claim: Claim, in_place_of_run: BaseException | None) -> None:
        try:
            with EndForkedChildren():
                self._check(claim, in_place_of_run)
                self._was_called = True
                await self._call_start(driver)
                # Called here, since an exception that leaves a coroutine cannot be StopIteration.
                result = call_run(self.case.run, self.test)
                await self._finish(driver, result)
        except BaseException as exc:
            # Also SystemExit and KeyboardInterrupt: user code ends its test by them, not the worker.
            error = readable(exc)
            if is_hand_back(error):
                raise
            if self.is_interrupted(error):
                raise Interrupted("the worker is stopping") from error
            await self._end(driver, verdict_of(error)[0], error)
        else:
            await self._end(driver, State.PASS)

    def is_interrupted(self, error: BaseException) -> bool:
        """Return whether ``error`` ends user code because this process is stopping."""
        is_cancelled = isinstance(error, asyncio.CancelledError)
        return is_hand_back(error) or (is_cancelled and self._process.interruption.is_due)

    def _check(self, claim: Claim, in_place_of_run: BaseException | None) -> None:
        if claim.outcome == "inactive":
            raise LiveCheckTestSkipped("the case is not active")
        if claim.outcome == "expired":
            raise LiveCheckTestSkipped(f"expired {claim.now - claim.expires_at:.1f} s before a worker took it")
        if in_place_of_run is not None:
            raise in_place_of_run

    async def _finish(self, driver: Driver, result: Any) -> None:
        """Await what ``run()`` has returned, in the asyncio face, and check the result and the signals."""
        result = await self._in_time(driver.result_of("run()", result))
        if kind := unexecuted(result):
            raise TypeError(f"run() returned {kind}, which nothing executes; execute or await it in run()")
        await driver.blocking(check_arrivals, self.case, self.test)

    async def _in_time(self, result: Coroutine[Any, Any, Any]) -> Any:
        """Return the ``result`` of ``run()``; the asyncio face cancels it at the deadline."""
        return await result

    async def _end(self, driver: Driver, state: State, error: BaseException | None = None) -> bool:
        """Record the verdict, unless this runner has recorded one; return whether it had not."""
        if not self._ended.acquire(blocking=False):
            return False
        self.ended = time.monotonic()
        self.runtime = self.ended - self.started if self._was_called else None
        self.state = state
        self.error = None if error is None else verdict_of(error)[1]
        text = None if error is None else self._describe(error)
        self.outcome = None if error is None or text is None else outcome_of(state, error, text)
        self._log.flush(self.case.logger, f"[{self.test.shortident}] {state}")
        await self._account(
            driver,
            TestReport(
                case_name=self.case.name,
                state=state,
                test=self.test,
                runtime=self.runtime,
                signal_latency=dict(self.signal_latency),
                signal_since_trigger=self.signal_since_trigger,
                signal_arrivals={event.signal_name: event.arrivals for event in self.arrived if event.arrivals > 1},
                error=text,
                traceback=None if error is None or state is State.SKIP else traceback_of(error),
            ),
        )
        return True

    def _describe(self, error: BaseException) -> str:
        """Return ``error`` as one line, with the signal that was received last, unless LiveCheck raised it."""
        text = describe(error)
        has_context = self._last_received is None or isinstance(self.error, LiveCheckError)
        return text if has_context else f"{text}; after {self._last_received}"

    async def _account(self, driver: Driver, report: TestReport) -> None:
        case, process = self.case, self._process
        verdict = await driver.recording(
            process.retry,
            process.store.executions.verdict,
            report,
            self._token,
            max_history=case.max_history,
            state_transition_delay=case.state_transition_delay,
            limits=FailureLimits.of(case),
        )
        if not verdict.accepted:
            throttled.warning("runner: %s: verdict %s refused: another verdict stands", self.test.ident, report.state)
            return
        self.report = replace(report, at=verdict.at)
        log_verdict(case.logger, self.test.ident, self.report, self.error)
        await self._call_verdict(driver, report.state, self.error)
        await case.run_hook(driver, case.post_report, self.report)
        if failure := suite_failure(verdict, case):
            await case.fail_suite_by(driver, failure)
        elif verdict.change == "recovered":
            case.logger.info("case %s: recovered", case.name)

    def _hand_back(self) -> None:
        if self._ended.locked():
            return
        self.handed_back = True
        try:
            self._process.store.executions.release(self.case.name, self.test.id, self._token)
        except RedisUnavailable as exc:
            throttled.warning("runner: %s: not handed back, recovery takes over: %s", self.test.ident, exc)
