"""Records of the model of executions: executions, runs of a schedule, the suite and signals of one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from livecheck_celery.models import LAYOUT, State
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.store.statistics import FailureLimits

LIMITS = FailureLimits(max_consecutive_failures=3, max_failure_rate=0.4, failure_rate_window=20.0, failure_rate_tests=4)
#: Accepted, at, consecutive_failures, status, change, recent.
VerdictReply = tuple[bool, float, int, State, str, tuple[int, int]]


def stamp(time: float) -> str:
    """Format a time as it is stored."""
    return f"{time:.6f}"


def unchecked_after(limit: float) -> float:
    """Return the seconds after which a suite counts as not checked."""
    return max(3.0, min(0.75 * limit, 90.0))


@dataclass(frozen=True)
class Message:
    """A message that requests an execution; ``recorded_at`` is None if it has no record, ``number`` is unique."""

    number: int
    test_id: str
    recorded_at: float | None = None


@dataclass
class Execution:
    """One requested execution; ``held_by`` is the token whose verdict would be accepted."""

    number: int
    payload: str | None
    recorded_at: float
    expires_at: float
    not_before: float | None = None
    held_by: str | None = None
    lease_until: float | None = None
    outcome: str | None = None
    attempts: int | None = None
    sends: int = 0
    started: bool = False
    closing: str | None = None
    #: Whether a worker took its last message, and when the sweep sent that message.
    taken: bool = False
    sent_at: float | None = None
    #: Numbers of the executions of this id that came by a message alone.
    by_message: frozenset[int] = frozenset()
    #: Numbers of the executions of the earlier uses of this id, whose messages the record recognizes.
    earlier: frozenset[int] = frozenset()
    verdict: State | None = None
    verdict_by: str | None = None
    answer: VerdictReply | None = None
    #: Signals that arrived again after the verdict.
    late: set[str] = field(default_factory=set)

    def is_leased(self, now: float) -> bool:
        return self.lease_until is not None and self.lease_until > now

    def claim_outcome(self, now: float, active: bool) -> str:
        """Return the outcome of a claim with a new token."""
        if self.verdict is not None:
            return "done"
        if self.closing or self.is_leased(now):
            return "busy"
        if self.expires_at <= now:
            # Its worker lost it, and the sweep closes it.
            return "busy" if self.attempts else "expired"
        return "run" if active else "inactive"

    def judge(self, verdict: State, token: str, answer: VerdictReply) -> None:
        """Store the verdict, and drop the fields that are not kept after it."""
        self.verdict, self.verdict_by, self.answer = verdict, token, answer
        self.payload = self.not_before = self.held_by = self.lease_until = self.outcome = self.attempts = None
        self.sends, self.started, self.closing, self.taken, self.sent_at = 0, False, None, False, None

    def fields(self) -> dict[str, str]:
        """Return the fields of the hash, without the reply to its verdict."""
        stored = {
            "payload": self.payload,
            "recorded_at": stamp(self.recorded_at),
            "expires_at": stamp(self.expires_at),
            "not_before": None if self.not_before is None else stamp(self.not_before),
            "token": self.held_by,
            "lease_until": None if self.lease_until is None else stamp(self.lease_until),
            "outcome": self.outcome,
            "attempts": None if self.attempts is None else str(self.attempts),
            "sends": str(self.sends) if self.sends else None,
            "started": "1" if self.started else None,
            "closing": self.closing,
            "taken": "1" if self.taken else None,
            "layout": str(LAYOUT) if self.verdict is None else None,
            "sent_at": None if self.sent_at is None else stamp(self.sent_at),
            "verdict": self.verdict,
            "verdict_token": self.verdict_by,
            "by_message": "1"
            if self.by_message and (self.verdict is not None or self.not_before is not None)
            else None,
        }
        return {name: str(value) for name, value in stored.items() if value is not None}


@dataclass
class Run:
    """A run of a schedule that is claimed and not finished."""

    token: str
    lease_until: float
    over_at: float
    attempts: int = 1
    resent_until: float | None = None

    def fields(self) -> dict[str, str]:
        stored = {"run": self.token, "run_attempts": str(self.attempts)}
        stored |= {"run_until": stamp(self.lease_until), "run_over": stamp(self.over_at)}
        return stored if self.resent_until is None else {**stored, "run_sent": stamp(self.resent_until)}


@dataclass
class Suite:
    """The suite of the case; ``since`` is the time at which its first test was recorded."""

    since: float | None = None
    status: State | None = None
    consecutive_failures: int | None = None
    total_failures: int = 0
    totals: Counter[State] = field(default_factory=Counter)
    last_fail: float | None = None
    reported_by: str | None = None
    received_at: float | None = None
    last_test_received: float | None = None
    expected_since: float | None = None
    checked_at: float | None = None
    next_run: float | None = None
    run: Run | None = None
    last_failed_test: float | None = None
    claimed_up_to: float | None = None
    failing_since: float | None = None
    consecutive_passes: int | None = None
    #: Start, tests and failed tests of each part of the window.
    recent: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return self.status is None or self.status.is_ok()

    def status_at(self, now: float, limit: float | None) -> State:
        """Return the status as read; STALL after ``limit`` seconds without a test."""
        since = max(self.received_at or 0.0, self.expected_since or 0.0)
        if limit is not None and since and now - since > limit:
            return State.STALL
        return self.status or State.INIT

    def moments(self, windows: Sequence[Window], delay: float, limits: Sequence[float]) -> list[float]:
        """Return the times at which a call begins to have another effect; some are in the past."""
        times = []
        if self.next_run is not None:
            times += [self.next_run - window.early for window in windows]
            times += [self.next_run - window.period * 1.5 for window in windows]
        if self.run is not None:
            times += [self.run.lease_until, self.run.over_at, self.run.resent_until or 0.0]
        if self.last_fail is not None:
            times.append(self.last_fail + delay)
        if self.expected_since is not None:
            since = max(self.expected_since, self.last_test_received or 0.0)
            times += [since + limit for limit in limits]
        if self.checked_at is not None:
            times += [self.checked_at + unchecked_after(limit) for limit in limits]
        return times

    def count(self, state: State, now: float) -> tuple[str, tuple[int, int]]:
        """Count a verdict in the window; return the change of the suite, and the failed and all tests in the window."""
        if state is not State.SKIP:
            passed = state is State.PASS
            *closed, (at, tests, failures) = self.recent or [(now, 0, 0)]
            if now - at >= LIMITS.failure_rate_window / 10 and tests >= LIMITS.failure_rate_tests / 2:
                closed, (at, tests, failures) = self.recent, (now, 0, 0)
            self.recent = [*closed, (at, tests + 1, failures + (not passed))][-11:]
            self.consecutive_passes = (self.consecutive_passes or 0) + 1 if passed else 0
        recent = sum(failures for *_, failures in self.recent), sum(tests for _, tests, _ in self.recent)
        return self._change(state, now, recent), recent

    def _change(self, state: State, now: float, recent: tuple[int, int]) -> str:
        failures, tests = recent
        rate = failures / tests if tests >= LIMITS.failure_rate_tests else 0.0
        if state is State.PASS and self.failing_since is not None:
            has_passes = (self.consecutive_passes or 0) >= LIMITS.failure_rate_tests
            if has_passes or rate <= LIMITS.max_failure_rate / 2:
                self.failing_since = None
                self.recent = [] if has_passes else self.recent
                return "recovered"
        if state in (State.PASS, State.SKIP):
            return ""
        self.last_failed_test = now
        if self.failing_since is not None:
            self.last_fail = now
        elif (self.consecutive_failures or 0) >= LIMITS.max_consecutive_failures or rate > LIMITS.max_failure_rate:
            self.failing_since = now
            return "consecutive" if (self.consecutive_failures or 0) >= LIMITS.max_consecutive_failures else "rate"
        return ""

    def failed_within(self, delay: float, now: float) -> bool:
        return self.last_fail is not None and now - self.last_fail <= delay

    def fields(self) -> dict[str, str]:
        times = {
            "since": self.since,
            "last_fail": self.last_fail,
            "received_at": self.received_at,
            "last_test_received": self.last_test_received,
            "expected_since": self.expected_since,
            "checked_at": self.checked_at,
            "tat": self.next_run,
            "last_failed_test": self.last_failed_test,
            "claimed_up_to": self.claimed_up_to,
            "failing_since": self.failing_since,
        }
        stored = {name: stamp(time) for name, time in times.items() if time is not None}
        stored.update({f"total:{state}": str(count) for state, count in self.totals.items()})
        if self.run is not None:
            stored.update(self.run.fields())
        if self.status is not None:
            stored["status"] = str(self.status)
        if self.reported_by is not None:
            stored["reported_by"] = self.reported_by
        if self.consecutive_failures is not None:
            stored["consecutive_failures"] = str(self.consecutive_failures)
        if self.consecutive_passes is not None:
            stored["consecutive_passes"] = str(self.consecutive_passes)
            stored["recent"] = " ".join(f"{stamp(at)}:{tests}:{failures}" for at, tests, failures in self.recent)
        if self.total_failures:
            stored["total_failures"] = str(self.total_failures)
        return stored


#: Prefix of the signals that arrived after the verdict, for the next use of the id.
EARLY = "~- "


@dataclass
class StoredSignals:
    """Signals of one test (name to value and time; number of arrivals, time of the first), and who listens."""

    arrived: dict[str, tuple[str, float]] = field(default_factory=dict)
    counted: dict[str, tuple[int, float]] = field(default_factory=dict)
    listeners: set[str] = field(default_factory=set)
    #: Those of other tests, which stay after the verdict.
    awaiting: set[str] = field(default_factory=set)

    def arrive(self, name: str, value: str, now: float, *, counts: bool = True) -> bool:
        """Store a signal; return whether it had arrived before."""
        self.arrived[name] = (value, now)
        arrivals, first_at = self.counted.get(name, (0, now))
        self.counted[name] = (arrivals + counts, first_at)
        return arrivals > 0

    def begin_again(self) -> bool:
        """Drop the signals of the id's earlier use; return whether nothing is left."""
        for name in list(self.readable):
            del self.arrived[name], self.counted[name]
        self.take_over()
        return not self.arrived and not self.listeners

    @property
    def readable(self) -> dict[str, tuple[str, float]]:
        """The signals, without those for the next use of the id."""
        return {name: event for name, event in self.arrived.items() if not name.startswith(EARLY)}

    def take_over(self) -> None:
        """Give the early signals to the use of the id that begins."""
        for early in [name for name in self.arrived if name.startswith(EARLY)]:
            name = early.removeprefix(EARLY)
            self.arrived[name], self.counted[name] = self.arrived.pop(early), self.counted.pop(early)
