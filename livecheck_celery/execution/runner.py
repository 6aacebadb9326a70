"""Runs one execution of a case, to its one verdict (reference: ``livecheck.runners.TestRunner``)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celery.schedules import BaseSchedule

from livecheck_celery.context import current_execution_var, under_test
from livecheck_celery.errors import (
    LiveCheckError,
    LiveCheckTestFailed,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    RedisUnavailable,
    SuiteFailed,
)
from livecheck_celery.execution.event_loop import finish
from livecheck_celery.execution.failures import describe, trace
from livecheck_celery.execution.inbox import Interrupted, Mailbox
from livecheck_celery.execution.spans import traced
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport
from livecheck_celery.store import Claim
from livecheck_celery.store.retry import with_retry
from livecheck_celery.utils.sanitize import get_logger, sanitize

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case
    from livecheck_celery.cases.signals import BaseSignal

logger = get_logger(__name__)

#: Seconds a coroutine has after its deadline, in which a wait for a signal says which one did not come.
_LAST_WORD: Final = 0.5


class TestRunner:
    """One execution of ``case``.

    Attributes:
        case: what is run.
        test: the execution asked for.
        state: INIT until there is a verdict.
        started: monotonic time at which it started.
        ended: monotonic time of the verdict.
        runtime: seconds between the two.
        logs: the lines logged so far, as (level, text).
        signal_latency: seconds ``wait()`` waited for each signal.
        report: what was reported, once there is a verdict; None when another's verdict came first.
        error: what broke.
        deadline: monotonic time at which the test expires, or has run for ``max_runtime``.
        overran: whether it got its verdict, TIMEOUT, while ``run()`` went on.
        thread_id: of the thread it is executed in.
        handed_back: whether this process stopped before there was a verdict, and another is to be asked.
    """

    __test__ = False

    def __init__(self, case: Case, test: TestExecution, started: float) -> None:
        self.case = case
        self.test = test
        self.started = started
        self.ended: float | None = None
        self.runtime: float | None = None
        self.state = State.INIT
        self.logs: list[tuple[int, str]] = []
        self.signal_latency: dict[str, float] = {}
        self.report: TestReport | None = None
        self.error: BaseException | None = None
        self.deadline = started
        self.overran = False
        self.thread_id = threading.get_ident()
        self.handed_back = False
        self.is_async = inspect.iscoroutinefunction(case.run)
        self._token = uuid.uuid4().hex
        self._recorded_at = 0.0
        self._ended = threading.Lock()  # taken by the first to end it
        self._mailboxes: dict[tuple[str, str], Mailbox] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.test.shortident}: {self.state}>"

    def execute(self) -> State:
        """Claim the execution, run it, record the verdict.

        Returns:
            The verdict; INIT when there is none to give: another worker has or had the execution, or this one is
            stopping and handed it back.

        Raises:
            RedisUnavailable: Redis did not answer for a long time; recovery will see to the execution.
        """
        suite = self.case.app
        held = self._held
        try:
            box = self._open(self.case.name, self.test.id)
            claim = self._claim()
            if claim.outcome in ("done", "busy"):
                logger.debug("%s: %s; nothing to do", self.test.ident, claim.outcome)
                return State.INIT
            for event in claim.signals.values():
                box.deliver(event)
            suite.leases.hold(held)
            suite.slots.take(self)
            with traced(self), self._current():
                self._judge(claim)
        except Interrupted:
            self._hand_back()
        finally:
            suite.slots.free(self)
            suite.leases.drop(held)
            for mailbox in self._mailboxes.values():
                suite.inbox.close(mailbox)
        return self.state

    def conclude(self, token: str, state: State, error: LiveCheckError) -> None:
        """Record the verdict on an execution that was never finished; ``token`` is the one recovery was given."""
        self._token = token
        with traced(self):
            self._end(state, error)

    def overrun(self) -> None:
        """Record TIMEOUT on a ``run()`` that goes on after its deadline; ``overran`` tells whether it was in time.

        Raises:
            RedisUnavailable: Redis did not answer for a minute; recovery will see to the execution.
        """
        limit = self.case.max_runtime
        why = "when the test expired" if limit is None else f"after {self.deadline - self.started:.1f} s"
        try:
            with self._current():
                self.overran = self._end(State.TIMEOUT, LiveCheckTestTimeout(f"run() was still running {why}"))
        finally:
            self.case.app.leases.drop(self._held)

    # -- for signals

    def expect(self, signal: BaseSignal[Any], key: str | None) -> Future[SignalEvent]:
        """A future of ``signal``, for the test ``key`` or the one being executed."""
        case_name, key = signal.case.name, key or self.test.id
        mailbox = self._mailboxes.get((case_name, key))
        if mailbox is None:
            suite = self.case.app
            mailbox = self._open(case_name, key)
            ttl = max(1.0, self.deadline - time.monotonic())
            arrived = with_retry(suite.store.signals.listen, case_name, key, suite.inbox.address, ttl=ttl)
            for event in arrived.values():
                mailbox.deliver(event)
        return mailbox.expect(signal.name)

    def forget(self, signal: BaseSignal[Any], key: str | None, future: Future[SignalEvent]) -> None:
        """Nobody waits for ``future`` any more."""
        self._mailboxes[signal.case.name, key or self.test.id].forget(signal.name, future)

    @property
    def arrived(self) -> list[SignalEvent]:
        """The signals of the test that have arrived, the earliest first."""
        mailbox = self._mailboxes.get((self.case.name, self.test.id))
        events = [] if mailbox is None else list(mailbox.events.values())
        return sorted(events, key=lambda event: event.received_at or 0.0)

    @property
    def signal_since_trigger(self) -> dict[str, float]:
        """Seconds from the trigger to each signal that has arrived, the earliest first.

        A signal from elsewhere may overtake the trigger on its way to Redis; that is 0.
        """
        return {event.signal_name: max(0.0, (event.received_at or 0.0) - self._recorded_at) for event in self.arrived}

    def _open(self, case_name: str, key: str) -> Mailbox:
        mailbox = self.case.app.inbox.open(case_name, key)
        self._mailboxes[case_name, key] = mailbox
        return mailbox

    # -- for logs

    def log(self, level: int, msg: object, *args: object) -> None:
        """Keep a line for the end of the test, or emit it now with ``realtime_logs``."""
        text = str(msg) % args if args else str(msg)
        if self.case.realtime_logs:
            self.case.logger.log(level, "[%s] %s", self.test.shortident, sanitize(text))
        else:
            self.logs.append((level, text))

    def log_info(self, msg: str, *args: object) -> None:
        """`log`, at level INFO (reference: ``TestRunner.log_info``)."""
        self.log(logging.INFO, msg, *args)

    def _flush_logs(self) -> None:
        if self.logs:
            lines = [sanitize(line) for _, text in self.logs for line in text.splitlines()]
            level = max(level for level, _ in self.logs)
            message = "[%s] %s, having logged:" + "\n  %s" * len(lines)
            self.case.logger.log(level, message, self.test.shortident, self.state, *lines)
            self.logs.clear()

    # -- the steps of execute()

    def _claim(self) -> Claim:
        case, suite = self.case, self.case.app
        claim = with_retry(
            suite.store.executions.claim,
            self.test,
            token=self._token,
            address=suite.inbox.address,
            lease=suite.leases.lease,
            active=case.active,
            frequency=None if isinstance(case.frequency, BaseSchedule) else case.frequency,
            max_history=case.max_history,
            expires_in=max(0.0, (self.test.expires - datetime.now(UTC)).total_seconds()),
        )
        self.started = time.monotonic()
        self.deadline = self.started + claim.expires_at - claim.now
        if case.max_runtime is not None:
            self.deadline = min(self.deadline, self.started + case.max_runtime)
        self._recorded_at = claim.recorded_at
        return claim

    @property
    def _held(self) -> tuple[str, str, str]:
        return self.case.name, self.test.id, self._token

    @contextmanager
    def _current(self) -> Iterator[None]:
        token = current_execution_var.set(self)
        try:
            with under_test(self.test):
                yield
        finally:
            current_execution_var.reset(token)

    def _judge(self, claim: Claim) -> None:
        try:
            self._run(claim)
        except LiveCheckTestSkipped as exc:
            self._end(State.SKIP, exc)
        except (AssertionError, LiveCheckTestFailed) as exc:
            self._end(State.FAIL, exc)
        except LiveCheckTestTimeout as exc:
            self._end(State.TIMEOUT, exc)
        except Interrupted:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever run() raises is the verdict
            self._end(State.ERROR, exc)
        except BaseException as exc:
            # SystemExit, KeyboardInterrupt and cancellation are verdicts before they are anything else.
            self._end(State.ERROR, exc)
            raise
        else:
            self._end(State.PASS)

    def _run(self, claim: Claim) -> None:
        if claim.outcome == "inactive":
            raise LiveCheckTestSkipped("the case is not active")
        if claim.outcome == "expired":
            raise LiveCheckTestSkipped(f"expired {claim.now - claim.expires_at:.1f} s before a worker took it")
        self.case.call_hook(self.case.on_test_start, self)
        outcome = self.case.run(*self.test.test_args, **self.test.test_kwargs)
        finish(self._bounded(outcome) if inspect.iscoroutine(outcome) else outcome)

    async def _bounded(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """A coroutine, unlike a thread, can be stopped when its time is over."""
        try:
            async with asyncio.timeout(self.deadline - time.monotonic() + _LAST_WORD) as bound:
                await coroutine
        except TimeoutError:
            if bound.expired():
                raise LiveCheckTestTimeout(f"run() was stopped after {time.monotonic() - self.started:.1f} s") from None
            raise

    def _end(self, state: State, error: BaseException | None = None) -> bool:
        """Come to the verdict, unless that was done; whether this was the first time."""
        if not self._ended.acquire(blocking=False):
            return False
        self.ended = time.monotonic()
        self.runtime = self.ended - self.started
        self.state = state
        self.error = error
        self._flush_logs()
        self._account(
            TestReport(
                case_name=self.case.name,
                state=state,
                test=self.test,
                runtime=self.runtime,
                signal_latency=dict(self.signal_latency),
                signal_since_trigger=self.signal_since_trigger,
                error=None if error is None else describe(error),
                traceback=None if error is None or state is State.SKIP else trace(error),
            )
        )
        return True

    def _account(self, report: TestReport) -> None:
        case, suite = self.case, self.case.app
        verdict = with_retry(
            suite.store.executions.verdict,
            report,
            self._token,
            address=suite.inbox.address,
            max_history=case.max_history,
            state_transition_delay=case.state_transition_delay,
        )
        if not verdict.accepted:
            logger.warning("%s: verdict %s came too late and was refused", self.test.ident, report.state)
            return
        self.report = replace(report, at=verdict.at)
        level = logging.INFO if report.state.is_ok() else logging.ERROR
        logger.log(level, "%s: %s in %.3f s%s", self.test.ident, report.state, report.runtime, _because(report))
        self._notify()
        case.call_hook(case.post_report, self.report)
        if not report.state.is_ok() and verdict.consecutive_failures >= case.max_consecutive_failures:
            limit = case.max_consecutive_failures
            case.fail_suite(SuiteFailed(f"{verdict.consecutive_failures} tests failed in a row (limit {limit})"))

    def _notify(self) -> None:
        case = self.case
        if self.state is State.PASS:
            case.call_hook(case.on_test_pass, self)
        elif self.state is State.SKIP:
            case.call_hook(case.on_test_skipped, self)
        elif self.state is State.FAIL:
            case.call_hook(case.on_test_failed, self, self.error)
        elif self.state is State.TIMEOUT:
            case.call_hook(case.on_test_timeout, self, self.error)
        else:
            case.call_hook(case.on_test_error, self, self.error)

    def _hand_back(self) -> None:
        if self._ended.locked():
            return
        self.handed_back = True
        try:
            self.case.app.store.executions.release(self.case.name, self.test.id, self._token)
        except RedisUnavailable as exc:
            logger.warning("%s: could not be handed back, recovery will see to it: %s", self.test.ident, exc)


def _because(report: TestReport) -> str:
    return f": {report.error}" if report.error else ""
