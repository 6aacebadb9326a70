"""A model of the executions, signals and suite of one case, in plain Python, to compare a server with.

It is written from the headers of the scripts: each method replies as the store does, and `fields`, `suite`, `signals`
and so on are the values the keys should have. Times are seconds since the epoch.
"""

from __future__ import annotations

from math import ceil

from livecheck_celery.models import State
from livecheck_celery.store import executions as store_executions
from livecheck_celery.store.database import FORGET_AFTER, KEEP, REPORT_TTL
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.store.signals import SIGNAL_TTL
from tests.helpers.execution_records import (
    EARLY,
    Execution,
    Message,
    StoredSignals,
    Suite,
    VerdictReply,
    unchecked_after,
)
from tests.helpers.schedule_model import ScheduleModel

MAX_HISTORY = 3
MAX_REPORTS = 12
MAX_OPEN = 2
DELAY = 30.0  # state_transition_delay
WINDOWS = [Window(2.0, 1.0), Window(30.0, 5.0)]
STALLED_AFTER = [5.0, 30.0]
OPEN, REPORTS, LATE = "open", "reports", "late"


class ExecutionModel(ScheduleModel):
    """One case; ``now`` is the server's clock."""

    def __init__(self, now: float) -> None:
        self.now = now
        #: Every verdict that was accepted: number of the execution, token, state.
        self.verdicts: list[tuple[int, str, State]] = []
        #: Numbers of executions whose record or verdict was lost.
        self.lost: set[int] = set()
        self._numbers = 0
        self.lose_everything()

    def lose_everything(self) -> None:
        """Forget everything, as a server that lost its data."""
        self.lost.update(range(self._numbers + 1))
        self.verdicts.clear()
        self.executions: dict[str, Execution] = {}
        self.open: dict[str, float] = {}
        self.signals: dict[str, StoredSignals] = {}
        self.suite = Suite()
        self.frequency: list[float] = []
        self.latency: list[float] = []
        self.runtime: list[float] = []
        self.reports: dict[str, list[tuple[str, str | None, float]]] = {REPORTS: [], LATE: []}
        #: Kind of key and test id, to when the key expires.
        self.gone_at: dict[tuple[str, str], float] = {}

    # -- time

    def move(self, seconds: float) -> None:
        """Let time pass; expired keys are deleted."""
        self.now += seconds
        for what, test_id in [key for key, at in self.gone_at.items() if at <= self.now]:
            one = self.executions.get(test_id)
            if what == "test" and one is not None:
                self.lost |= one.by_message if one.verdict is not None else {one.number, *one.by_message}
            self._forget(what, test_id)

    def moments(self) -> list[float]:
        """Return the times, from now on, at which the state changes."""
        ones = self.executions.values()
        times = [*self.open.values(), *self.gone_at.values()]
        times += [
            time for one in ones for time in (one.lease_until, one.expires_at, one.recorded_at + FORGET_AFTER) if time
        ]
        times += self.suite.moments(WINDOWS, DELAY, STALLED_AFTER)
        return sorted({time for time in times if time >= self.now})

    def _forget(self, what: str, test_id: str) -> None:
        self.gone_at.pop((what, test_id), None)
        if what == OPEN:
            self.open.clear()
        elif what in self.reports:
            self.reports[what] = []
        elif what == "test":
            self.executions.pop(test_id, None)
        else:
            self.signals.pop(test_id, None)

    def _keep(self, what: str, test_id: str, seconds: float) -> None:
        """Keep a key for at least ``seconds``."""
        at = self.now + max(1, ceil(seconds))
        self.gone_at[what, test_id] = max(at, self.gone_at.get((what, test_id), 0.0))

    def _keep_exactly(self, what: str, test_id: str, seconds: float) -> None:
        self.gone_at[what, test_id] = self.now + seconds

    def _outlive_signals(self, test_id: str) -> None:
        """Keep the record for longer than the signals, once it has its verdict."""
        one = self.executions.get(test_id)
        if one is not None and one.verdict is not None and test_id in self.signals:
            self._keep("test", test_id, self.gone_at["signals", test_id] - self.now + 1)

    # -- executions

    def message(self, test_id: str, recorded_at: float | None = None) -> Message:
        """Return the message of a new request."""
        self._numbers += 1
        return Message(self._numbers, test_id, recorded_at)

    def record(self, test_id: str, payload: str, expires_in: float, delay: float) -> Message | str:
        """Return the message to send, or why the test was not recorded."""
        earlier = self.executions.get(test_id)
        if earlier is not None and earlier.verdict is None:
            return "duplicate"
        if len(self.open) >= MAX_OPEN:
            return "backlog"
        if earlier is not None:
            self._forget("test", test_id)
            if self.signals.get(test_id, StoredSignals()).begin_again():
                self._forget("signals", test_id)
        not_before = self.now + delay
        message = self.message(test_id, self.now)
        execution = self._new(message, payload, not_before + expires_in)
        execution.not_before = not_before
        execution.by_message = frozenset() if earlier is None else earlier.by_message
        execution.earlier = frozenset() if earlier is None else earlier.earlier | {earlier.number}
        if test_id in self.signals:
            self.signals[test_id].take_over()
        if test_id in self.signals and expires_in + delay > 0:
            self._keep("signals", test_id, expires_in + delay)
        self.open[test_id] = min(not_before + store_executions.RESEND_AFTER, execution.expires_at)
        self._keep(OPEN, "", execution.expires_at - self.now + KEEP)
        return message

    def _new(self, message: Message, payload: str, expires_at: float) -> Execution:
        recorded_at = self.now if message.recorded_at is None else message.recorded_at
        execution = Execution(message.number, payload, recorded_at, expires_at, by_message=frozenset({message.number}))
        self.executions[message.test_id] = execution
        if self.suite.since is None:
            self.suite.since = self.now
        self._keep("test", message.test_id, expires_at - self.now + KEEP)
        return execution

    def _is_forgotten(self, message: Message) -> bool:
        """Return whether an execution without a record had its verdict; else it is new, or Redis lost its record."""
        sent_recorded_at, since = message.recorded_at, self.suite.since
        return (
            sent_recorded_at is not None and since is not None and since <= sent_recorded_at <= self.now - FORGET_AFTER
        )

    def claim(
        self,
        message: Message,
        payload: str,
        token: str,
        address: str,
        *,
        lease: float,
        active: bool,
        period: float | None,
        expires_in: float,
    ) -> tuple[str, int, float, float]:
        """Return outcome, attempt, recorded_at, expires_at."""
        test_id, sent_recorded_at = message.test_id, message.recorded_at
        one = self.executions.get(test_id)
        if one is None and sent_recorded_at is not None and self._is_forgotten(message):
            return "done", 0, sent_recorded_at, sent_recorded_at
        one = one or self._new(message, payload, self.now + expires_in)
        is_repeated = one.held_by == token
        if sent_recorded_at is not None and sent_recorded_at < one.recorded_at:
            outcome = "done"
        else:
            outcome = str(one.outcome) if is_repeated else one.claim_outcome(self.now, active)
            is_held = outcome == "busy" and (one.lease_until or 0.0) > self.now and one.closing is None
            one.taken = one.taken or is_held
        if outcome not in ("done", "busy"):
            if not is_repeated:
                one.attempts = (one.attempts or 0) + 1
            one.held_by, one.outcome, one.lease_until, one.taken = token, outcome, self.now + lease, True
            self.suite.claimed_up_to = max(self.suite.claimed_up_to or 0.0, one.recorded_at)
            self.open[test_id] = min(one.lease_until, one.expires_at)
            self._keep(OPEN, "", one.expires_at - self.now + KEEP)
            self._register(test_id, address, one.expires_at - self.now)
            if outcome == "run" and not one.started:
                one.started = True
                self._received(period)
        return outcome, one.attempts or 0, one.recorded_at, one.expires_at

    def _received(self, period: float | None) -> None:
        suite = self.suite
        if suite.received_at is not None:
            gap = self.now - suite.received_at
            self.frequency = [*self.frequency, gap][-MAX_HISTORY:]
            if period is not None:
                self.latency = [*self.latency, max(0.0, gap - period)][-MAX_HISTORY:]
        suite.received_at = suite.last_test_received = self.now

    def _held(self, test_id: str, token: str) -> Execution | None:
        one = self.executions.get(test_id)
        return one if one is not None and one.held_by == token and one.verdict is None else None

    def renew(self, test_id: str, token: str, lease: float) -> bool:
        one = self._held(test_id, token)
        if one is None:
            judged = self.executions.get(test_id)
            return judged is not None and judged.verdict_by == token
        one.lease_until = self.now + lease
        self._check_again_at(test_id, min(one.lease_until, one.expires_at))
        return True

    def release(self, test_id: str, token: str) -> bool:
        one = self._held(test_id, token)
        if one is None:
            return False
        one.held_by = one.lease_until = one.outcome = None
        one.attempts = (one.attempts or 0) - 1
        self._check_again_at(test_id, self.now)
        return True

    def _check_again_at(self, test_id: str, at: float) -> None:
        if test_id in self.open:
            self.open[test_id] = at

    def verdict(self, test_id: str, token: str, state: State, runtime: float | None) -> VerdictReply:
        """Return accepted, at, consecutive_failures, status, change, recent."""
        one = self.executions.get(test_id)
        if one is not None and one.verdict_by == token and one.answer is not None:
            return one.answer
        suite = self.suite
        held = self._held(test_id, token)
        if held is None:
            return False, self.now, suite.consecutive_failures or 0, suite.status or State.INIT, "", (0, 0)
        self.verdicts.append((held.number, token, state))
        self._keep_exactly("test", test_id, store_executions.REMEMBER if held.by_message else FORGET_AFTER)
        suite.totals[state] += 1
        if state is State.PASS:
            suite.consecutive_failures = 0
            if not suite.failed_within(DELAY, self.now):
                suite.status = state
            if runtime is not None:
                self.runtime = [*self.runtime, runtime][-MAX_HISTORY:]
        elif state is not State.SKIP:
            suite.status = state
            suite.consecutive_failures = (suite.consecutive_failures or 0) + 1
            suite.total_failures += 1
        change, recent = suite.count(state, self.now)
        self._close(test_id)
        self._end_claims(test_id)
        self.report(state, test_id)
        answer = (True, self.now, suite.consecutive_failures or 0, suite.status or State.INIT, change, recent)
        held.judge(state, token, answer)
        self._outlive_signals(test_id)
        return answer

    def _close(self, test_id: str) -> None:
        self.open.pop(test_id, None)
        if not self.open:
            self._forget(OPEN, "")

    def _end_claims(self, test_id: str) -> None:
        stored = self.signals.get(test_id)
        if stored is not None:
            stored.listeners &= stored.awaiting
            if not stored.listeners and not stored.arrived:
                self._forget("signals", test_id)
            elif not stored.listeners and self.gone_at["signals", test_id] > self.now + FORGET_AFTER:
                self._keep_exactly("signals", test_id, FORGET_AFTER)

    def due(self) -> list[str]:
        """Return the ids of due executions, the longest overdue first."""
        return sorted((one for one, at in self.open.items() if at <= self.now), key=lambda one: (self.open[one], one))

    def discard(self, test_id: str) -> None:
        """Delete the record, as `Executions.discard` or a failover does."""
        if one := self.executions.get(test_id):
            self.lost |= {one.number, *one.by_message, *one.earlier}
        self._forget("test", test_id)
        self._close(test_id)

    def recover(self, test_id: str, token: str) -> tuple[str, str]:
        """Return action, payload."""
        one = self.executions.get(test_id)
        if one is None or one.verdict is not None:
            self._close(test_id)
            return "none", ""
        if one.closing and one.held_by == token:
            return one.closing, one.payload or ""
        if test_id not in self.due():
            return "none", ""
        action = one.closing or self._action(test_id, one)
        if action == "send":
            sent_at = one.sent_at or one.not_before or one.recorded_at
            is_overtaken = (self.suite.claimed_up_to or 0.0) > sent_at + store_executions.RESEND_AFTER / 2
            action = "send" if one.taken or is_overtaken else "resend"
            one.sends, one.sent_at, one.taken = one.sends + 1, self.now, False
            wait = min(store_executions.RESEND_AFTER * 2**one.sends, store_executions.MAX_RESEND)
            self.open[test_id] = min(self.now + wait, one.expires_at)
        elif action != "none":
            one.closing, one.held_by, one.lease_until = action, token, self.now + store_executions.CLOSING_LEASE
            self.open[test_id] = one.lease_until
        return action, "" if action == "none" else one.payload or ""

    def _action(self, test_id: str, one: Execution) -> str:
        is_expired = one.expires_at <= self.now
        if one.is_leased(self.now):
            if is_expired and one.outcome != "expired":
                return "timeout"
            assert one.lease_until is not None
            self.open[test_id] = one.lease_until if is_expired else min(one.lease_until, one.expires_at)
            return "none"
        if is_expired:
            return "lost" if one.attempts else "expired"
        return "lost" if (one.attempts or 0) >= store_executions.MAX_ATTEMPTS else "send"

    def revoke(self, message: Message, token: str) -> bool:
        """Return whether the caller must write the verdict."""
        one = self.executions.get(message.test_id)
        if one is not None and one.closing and one.held_by == token:
            return True
        if one is None or one.verdict is not None or one.closing:
            return False
        if message.recorded_at is not None and message.recorded_at < one.recorded_at:
            return False
        one.closing, one.held_by, one.lease_until = "revoked", token, self.now + store_executions.CLOSING_LEASE
        self._check_again_at(message.test_id, one.lease_until)
        return True

    # -- signals

    def signal(self, key: str, name: str, value: str, ttl: float) -> set[str]:
        """Store a signal; return the addresses to which it is published."""
        stored = self.signals.setdefault(key, StoredSignals())
        again = stored.arrive(name, value, self.now)
        one = self.executions.get(key)
        if one is None or one.verdict is None:
            self._keep("signals", key, max(SIGNAL_TTL, ttl, 0 if one is None else one.expires_at - self.now))
        else:
            stored.arrive(f"{EARLY}{name}", value, self.now, counts=again)
            self._keep("signals", key, FORGET_AFTER)
            if again and name not in one.late:
                one.late.add(name)
                self.report(one.verdict, None, LATE)
        self._outlive_signals(key)
        return set(stored.listeners)

    def listen(self, key: str, address: str, ttl: float) -> dict[str, tuple[str, float]]:
        """Register a listener; return the signals that have arrived."""
        self._register(key, address, ttl)
        self.signals[key].awaiting.add(address)
        self._outlive_signals(key)
        return self.signals[key].readable

    def _register(self, key: str, address: str, ttl: float) -> None:
        self.signals.setdefault(key, StoredSignals()).listeners.add(address)
        self._keep("signals", key, max(SIGNAL_TTL, ceil(ttl)))

    # -- the suite

    def report(self, state: State, test_id: str | None, stream: str = REPORTS) -> None:
        self.reports[stream] = [*self.reports[stream], (str(state), test_id, self.now)][-MAX_REPORTS:]
        self._keep_exactly(stream, "", REPORT_TTL)

    def fail_suite(self, state: State, token: str) -> bool:
        is_new = self.suite.is_ok or not self.suite.failed_within(DELAY, self.now)
        self.suite.status, self.suite.last_fail = state, self.now
        if is_new:
            self.suite.reported_by = token
            self.report(state, None)
        return is_new

    def service_recovered(self) -> None:
        suite = self.suite
        failing = suite.consecutive_failures or suite.failing_since is not None
        if not failing and not suite.is_ok and not suite.failed_within(DELAY, self.now):
            suite.status = State.PASS

    def stalled(self, limit: float | None, *, report: bool = True) -> float | None:
        """Return the seconds since the last test if the stall is reported now; None as ``limit`` means inactive."""
        suite = self.suite
        checked_at, suite.checked_at = suite.checked_at or self.now, self.now
        if limit is None:
            suite.expected_since = self.now
            return None
        suite.expected_since = since = suite.expected_since or self.now
        if self.now - checked_at > unchecked_after(limit):
            # Time in which nobody checked is no silence.
            since = self.now - max(0.0, checked_at - max(suite.received_at or 0.0, since))
            suite.expected_since = since
        if not report or self.now - max(since, suite.last_test_received or 0.0) <= limit:
            return None
        suite.last_test_received = self.now
        return self.now - max(since, suite.received_at or 0.0)
