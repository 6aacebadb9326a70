"""The ledger: which executions were requested, who runs them, and their one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from redis.client import Pipeline

from livecheck_celery.errors import DuplicateTest, TooManyTests
from livecheck_celery.models import EXECUTION, SignalEvent, State, TestExecution, TestReport
from livecheck_celery.store.database import FORGET_AFTER, KEEP, Part, execution_json, readable
from livecheck_celery.store.scripts import Argument
from livecheck_celery.store.signals import SIGNAL_TTL, read_signals

#: Seconds after which a message that nobody claimed is sent again; the wait doubles each time.
RESEND_AFTER: Final = 30.0
#: Longest such wait, seconds.
MAX_RESEND: Final = 600.0
#: An execution whose worker died this many times is not tried again.
MAX_ATTEMPTS: Final = 3
#: Seconds for which an execution is remembered that came without a record, so that a broker may deliver it twice.
REMEMBER: Final = 3600
#: Why an execution was not recorded.
DUPLICATE, BACKLOG = "duplicate", "backlog"
#: Seconds a sweeper has to write the verdict of an execution it closes.
CLOSING_LEASE: Final = 30.0


class Claim(NamedTuple):
    """Answer to a claim.

    Attributes:
        outcome: ``run``, ``expired`` or ``inactive``: claimed, and the claimer owes a verdict;
            ``done`` or ``busy``: somebody else's, nothing to do.
        attempt: 1 for the first claim of the execution.
        recorded_at: Redis time of the trigger.
        expires_at: Redis time from which on it is no longer run.
        signals: those that have arrived so far, by name.
        now: Redis time of the claim.
    """

    outcome: str
    attempt: int
    recorded_at: float
    expires_at: float
    signals: dict[str, SignalEvent]
    now: float


class Verdict(NamedTuple):
    """What became of a verdict.

    Attributes:
        accepted: False when somebody else's verdict stands, or the token is not current.
        at: Redis time of the verdict.
        consecutive_failures: of the suite, after the verdict.
        status: of the suite, after the verdict.
    """

    accepted: bool
    at: float
    consecutive_failures: int
    status: State


class Recovery(NamedTuple):
    """What the sweep has to do about an execution.

    Attributes:
        action: ``none``; ``send`` its message again; or write its verdict with the token given: ``timeout`` (it ran
            past its expiry), ``lost`` (its worker died) or ``expired`` (nobody claimed it in time).
        test: the execution, unless the action is ``none``.
    """

    action: str
    test: TestExecution | None


class Ledger(Part):
    """Executions, from the request to the verdict."""

    def record(self, test: TestExecution, *, expires_in: float, delay: float = 0.0) -> TestExecution:
        """Write down that ``test`` is requested, to run after ``delay`` seconds and within ``expires_in`` more.

        Returns:
            The test, with ``recorded_at``.

        Raises:
            DuplicateTest: an execution of that id has no verdict yet.
            TooManyTests: ``max_open`` executions of the case have none.
            InvalidPayload: the arguments are not JSON.
            RedisUnavailable: Redis did not take it.
        """
        outcome = self._run(self._scripts.record, *self._record_call(test, expires_in, delay))
        if outcome == DUPLICATE:
            raise DuplicateTest(f"{test.ident}: a test of that id has no verdict yet")
        if outcome == BACKLOG:
            limit = self.settings.max_open
            raise TooManyTests(f"{test.ident}: {limit} tests of the case have no verdict yet (livecheck_max_open)")
        return replace(test, recorded_at=float(outcome))

    def queue_record(self, pipeline: Pipeline, test: TestExecution, *, expires_in: float, delay: float) -> None:
        """Have ``pipeline`` do what `record` does; its reply is ``recorded_at``, or why it was not recorded.

        Raises:
            InvalidPayload: the arguments are not JSON.
        """
        self._scripts.record(*self._record_call(test, expires_in, delay), pipeline)

    def _record_call(self, test: TestExecution, expires_in: float, delay: float) -> tuple[list[str], list[Argument]]:
        case, test_id = test.case_name, test.id
        keys = [self.keys.test(case, test_id), self.keys.open(case), self.keys.signals(case, test_id)]
        keys.append(self.keys.state(case))
        max_open = self.settings.max_open
        return keys, [test_id, execution_json(test), expires_in, delay, RESEND_AFTER, KEEP, max_open]

    def claim(
        self,
        test: TestExecution,
        *,
        token: str,
        address: str,
        lease: float,
        active: bool,
        frequency: float | None,
        max_history: int,
        expires_in: float,
    ) -> Claim:
        """Take an execution for ``lease`` seconds. Asking again with the same token gives the same answer.

        A test whose message came without a record is recorded now, to expire in ``expires_in`` seconds. So is one whose
        record Redis lost, but not one that had its verdict, however long ago. The process at ``address`` is told of
        signals from now on. The statistics start unless the test is not to be run: ``frequency`` is the seconds there
        should be between tests, ``max_history`` the longest list.

        Raises:
            InvalidPayload: the arguments are not JSON.
            RedisUnavailable: Redis did not answer; the claim may have succeeded all the same.
        """
        case = test.case_name
        signals_key = self.keys.signals(case, test.id)
        outcome, attempt, recorded_at, expires_at, signals, now = self._run(
            self._scripts.claim,
            [
                self.keys.test(case, test.id),
                self.keys.open(case),
                signals_key,
                self.keys.state(case),
                self.keys.frequency(case),
                self.keys.latency(case),
            ],
            [
                test.id,
                execution_json(test),
                token,
                address,
                lease,
                active,
                frequency,
                max_history,
                expires_in,
                KEEP,
                SIGNAL_TTL,
                test.recorded_at,
                FORGET_AFTER,
            ],
        )
        stored = dict(zip(signals[::2], signals[1::2], strict=True))
        arrived = read_signals(signals_key, case, test.id, stored)
        return Claim(outcome, attempt, float(recorded_at), float(expires_at), arrived, float(now))

    def renew(self, leases: Sequence[tuple[str, str, str]], lease: float) -> list[tuple[str, str, str]]:
        """Prolong leases, each (case name, test id, token), to ``lease`` seconds from now.

        Returns those that are no longer the token's.

        Raises:
            RedisUnavailable: Redis did not answer; some may have been prolonged.
        """
        calls: list[tuple[list[str], list[Argument]]] = [
            ([self.keys.test(case, test_id), self.keys.open(case)], [test_id, token, lease])
            for case, test_id, token in leases
        ]
        replies = self._run_each(self._scripts.renew, calls)
        return [held for held, renewed in zip(leases, replies, strict=True) if not renewed]

    def release(self, case_name: str, test_id: str, token: str) -> bool:
        """Give an execution back, to be sent again at once; this attempt is not counted.

        False when it is no longer the token's.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = [self.keys.test(case_name, test_id), self.keys.open(case_name)]
        return bool(self._run(self._scripts.release, keys, [test_id, token]))

    def verdict(
        self, report: TestReport, token: str, *, address: str, max_history: int, state_transition_delay: float
    ) -> Verdict:
        """Record the verdict in ``report``, which must be of an execution; the first one by the current token stands.

        Writing it again with the same token gives the same answer and counts nothing twice. A pass does not mend the
        status of a suite that failed less than ``state_transition_delay`` seconds ago.

        Raises:
            ValueError: the report is not of an execution.
            RedisUnavailable: Redis did not answer; the verdict may have been recorded all the same.
        """
        if report.test is None:
            raise ValueError("a verdict is of an execution; this report has none")
        case, test_id = report.case_name, report.test.id
        accepted, at, consecutive_failures, status = self._run(
            self._scripts.verdict,
            [
                self.keys.test(case, test_id),
                self.keys.open(case),
                self.keys.signals(case, test_id),
                self.keys.state(case),
                self.keys.runtime(case),
                self.keys.reports(case),
            ],
            [
                test_id,
                token,
                address,
                report.state.value,
                report.runtime,
                max_history,
                state_transition_delay,
                self._kept(report),
                self.settings.max_reports,
                FORGET_AFTER,
                REMEMBER,
            ],
        )
        suite = readable(self.keys.state(case), lambda: State(status))
        return Verdict(bool(accepted), float(at), int(consecutive_failures), suite)

    def due(self, case_name: str, limit: int) -> list[str]:
        """Ids of at most ``limit`` executions the sweep should look at now, longest overdue first.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return list(self._run(self._scripts.due, [self.keys.open(case_name)], [limit]))

    def cases_due(self, case_names: Sequence[str]) -> list[str]:
        """Those of the cases that have an execution the sweep should look at now; one round trip.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        replies = self._run_each(self._scripts.due, [([self.keys.open(name)], [1]) for name in case_names])
        return [name for name, ids in zip(case_names, replies, strict=True) if ids]

    def look_again(self, case_name: str, test_ids: Sequence[str]) -> None:
        """Have the next sweep look at these executions, for what this one had to do could not be done.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self.reaching():
            self.client.zadd(self.keys.open(case_name), dict.fromkeys(test_ids, 0.0), xx=True)

    def discard(self, case_name: str, test_id: str) -> None:
        """Forget an execution that cannot be brought to a verdict.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self.reaching():
            pipeline = self.client.pipeline(transaction=False)
            pipeline.zrem(self.keys.open(case_name), test_id)
            pipeline.delete(self.keys.test(case_name, test_id))
            pipeline.execute()

    def recover(self, case_name: str, test_id: str, token: str) -> Recovery:
        """Decide what is to be done about one execution that is due; of several sweepers one is told to act.

        Raises:
            InvalidPayload: the record cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        key = self.keys.test(case_name, test_id)
        action, payload, recorded_at = self._run(
            self._scripts.recover,
            [key, self.keys.open(case_name)],
            [test_id, token, MAX_ATTEMPTS, RESEND_AFTER, MAX_RESEND, CLOSING_LEASE],
        )
        if action == "none":
            return Recovery(action, None)
        test = readable(key, lambda: EXECUTION.validate_json(payload))
        return Recovery(action, replace(test, recorded_at=float(recorded_at)))
