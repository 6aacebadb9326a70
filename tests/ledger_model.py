"""What must hold for the executions, signals and suite of one case, in plain Python.

Written from what the headers of the scripts promise, to be compared with a server: each method answers as the store
does, and `fields`, `suite`, `signals` … are what is to be found under the keys. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil

from livecheck_celery.models import State
from livecheck_celery.store import ledger
from livecheck_celery.store.arrivals import SIGNAL_TTL
from livecheck_celery.store.part import KEEP

MAX_HISTORY = 3
MAX_REPORTS = 12
DELAY = 30.0  # state_transition_delay

OPEN = "open"


def stamp(time: float) -> str:
    """A time as it is stored."""
    return f"{time:.6f}"


@dataclass
class Execution:
    """One requested run; ``held_by`` is the token whose verdict would be accepted."""

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
    verdict: State | None = None
    verdict_by: str | None = None
    answer: tuple[bool, float, int, State] | None = None

    def is_leased(self, now: float) -> bool:
        return self.lease_until is not None and self.lease_until > now

    def fields(self) -> dict[str, str]:
        """As it is stored, without the answer to its verdict."""
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
            "verdict": self.verdict,
            "verdict_token": self.verdict_by,
        }
        return {name: str(value) for name, value in stored.items() if value is not None}


@dataclass
class Suite:
    """How the case is doing."""

    status: State | None = None
    consecutive_failures: int | None = None
    total_failures: int = 0
    totals: Counter[State] = field(default_factory=Counter)
    last_fail: float | None = None
    received_at: float | None = None
    last_test_received: float | None = None
    watched_since: float | None = None
    next_slot: float | None = None

    @property
    def is_ok(self) -> bool:
        return self.status is None or self.status.is_ok()

    def failed_within(self, delay: float, now: float) -> bool:
        return self.last_fail is not None and now - self.last_fail <= delay

    def fields(self) -> dict[str, str]:
        times = {
            "last_fail": self.last_fail,
            "received_at": self.received_at,
            "last_test_received": self.last_test_received,
            "watched_since": self.watched_since,
            "tat": self.next_slot,
        }
        stored = {name: stamp(time) for name, time in times.items() if time is not None}
        stored.update({f"total:{state}": str(count) for state, count in self.totals.items()})
        if self.status is not None:
            stored["status"] = str(self.status)
        if self.consecutive_failures is not None:
            stored["consecutive_failures"] = str(self.consecutive_failures)
        if self.total_failures:
            stored["total_failures"] = str(self.total_failures)
        return stored


@dataclass
class Told:
    """Signals of one test (name to value and time), and the processes that listen."""

    arrived: dict[str, tuple[str, float]] = field(default_factory=dict)
    listeners: set[str] = field(default_factory=set)


class LedgerModel:
    """One case; ``now`` is the server's clock."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.executions: dict[str, Execution] = {}
        self.open: dict[str, float] = {}
        self.told: dict[str, Told] = {}
        self.suite = Suite()
        self.frequency: list[float] = []
        self.latency: list[float] = []
        self.runtime: list[float] = []
        self.reports: list[tuple[str, str | None, float]] = []
        #: Every verdict that was accepted: number of the execution, token, state.
        self.verdicts: list[tuple[int, str, State]] = []
        #: By what the key is of, when the key is gone.
        self.gone_at: dict[tuple[str, str], float] = {}
        self._numbers = 0

    # -- time

    def move(self, seconds: float) -> None:
        """Let time pass; what has outlived its TTL is gone."""
        self.now += seconds
        for what, test_id in [key for key, at in self.gone_at.items() if at <= self.now]:
            self._forget(what, test_id)

    def _forget(self, what: str, test_id: str) -> None:
        self.gone_at.pop((what, test_id), None)
        if what == OPEN:
            self.open.clear()
        elif what == "test":
            self.executions.pop(test_id, None)
        else:
            self.told.pop(test_id, None)

    def _keep(self, what: str, test_id: str, seconds: float) -> None:
        """Keep a key for at least so long."""
        at = self.now + max(1, ceil(seconds))
        self.gone_at[what, test_id] = max(at, self.gone_at.get((what, test_id), 0.0))

    # -- executions

    def record(self, test_id: str, payload: str, expires_in: float, delay: float) -> bool:
        earlier = self.executions.get(test_id)
        if earlier is not None:
            if earlier.verdict is None:
                return False
            self._forget("test", test_id)
            self._forget("signals", test_id)
        not_before = self.now + delay
        execution = self._new(test_id, payload, not_before + expires_in)
        execution.not_before = not_before
        self.open[test_id] = min(not_before + ledger.RESEND_AFTER, execution.expires_at)
        self._keep(OPEN, "", execution.expires_at - self.now + KEEP)
        return True

    def _new(self, test_id: str, payload: str, expires_at: float) -> Execution:
        self._numbers += 1
        execution = Execution(self._numbers, payload, self.now, expires_at)
        self.executions[test_id] = execution
        self._keep("test", test_id, expires_at - self.now + KEEP)
        return execution

    def claim(
        self,
        test_id: str,
        payload: str,
        token: str,
        address: str,
        *,
        lease: float,
        active: bool,
        period: float | None,
        expires_in: float,
    ) -> tuple[str, int, float, float]:
        """Outcome, attempt, recorded_at, expires_at."""
        one = self.executions.get(test_id) or self._new(test_id, payload, self.now + expires_in)
        is_repeated = one.held_by == token and one.verdict is None
        outcome = str(one.outcome) if is_repeated else self._outcome(one, active)
        if outcome not in ("done", "busy"):
            if not is_repeated:
                one.attempts = (one.attempts or 0) + 1
            one.held_by, one.outcome, one.lease_until = token, outcome, self.now + lease
            self.open[test_id] = min(one.lease_until, one.expires_at)
            self._keep(OPEN, "", one.expires_at - self.now + KEEP)
            self.listen(test_id, address, one.expires_at - self.now)
            if outcome == "run" and not one.started:
                one.started = True
                self._received(period)
        return outcome, one.attempts or 0, one.recorded_at, one.expires_at

    def _outcome(self, one: Execution, active: bool) -> str:
        if one.verdict is not None:
            return "done"
        if one.closing or one.is_leased(self.now):
            return "busy"
        if one.expires_at <= self.now:
            # Whoever had it lost it: that is for the sweep to say.
            return "busy" if one.attempts else "expired"
        return "run" if active else "inactive"

    def _received(self, period: float | None) -> None:
        suite = self.suite
        if suite.received_at is not None:
            gap = self.now - suite.received_at
            self.frequency = [*self.frequency, gap][-MAX_HISTORY:]
            if period is not None:
                self.latency = [*self.latency, gap - period][-MAX_HISTORY:]
        suite.received_at = suite.last_test_received = self.now

    def _held(self, test_id: str, token: str) -> Execution | None:
        one = self.executions.get(test_id)
        return one if one is not None and one.held_by == token and one.verdict is None else None

    def renew(self, test_id: str, token: str, lease: float) -> bool:
        one = self._held(test_id, token)
        if one is None:
            return False
        one.lease_until = self.now + lease
        self._look_again(test_id, min(one.lease_until, one.expires_at))
        return True

    def release(self, test_id: str, token: str) -> bool:
        one = self._held(test_id, token)
        if one is None:
            return False
        one.held_by = one.lease_until = one.outcome = None
        one.attempts = (one.attempts or 0) - 1
        self._look_again(test_id, self.now)
        return True

    def _look_again(self, test_id: str, at: float) -> None:
        if test_id in self.open:
            self.open[test_id] = at

    def verdict(
        self, test_id: str, token: str, address: str, state: State, runtime: float | None
    ) -> tuple[bool, float, int, State]:
        """Accepted, at, consecutive_failures, status."""
        one = self.executions.get(test_id)
        if one is not None and one.verdict_by == token and one.answer is not None:
            return one.answer
        suite = self.suite
        held = self._held(test_id, token)
        if held is None:
            return False, self.now, suite.consecutive_failures or 0, suite.status or State.INIT
        self.verdicts.append((held.number, token, state))
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
        self._close(test_id)
        self._deaf(test_id, address)
        self.report(state, test_id)
        held.verdict, held.verdict_by, held.payload = state, token, None
        held.answer = (True, self.now, suite.consecutive_failures or 0, suite.status or State.INIT)
        return held.answer

    def _close(self, test_id: str) -> None:
        self.open.pop(test_id, None)
        if not self.open:
            self._forget(OPEN, "")

    def _deaf(self, test_id: str, address: str) -> None:
        told = self.told.get(test_id)
        if told is not None:
            told.listeners.discard(address)
            if not told.listeners and not told.arrived:
                self._forget("signals", test_id)

    def due(self) -> list[str]:
        """The longest overdue first."""
        return sorted((one for one, at in self.open.items() if at <= self.now), key=lambda one: (self.open[one], one))

    def discard(self, test_id: str) -> None:
        self._forget("test", test_id)
        self._close(test_id)

    def recover(self, test_id: str, token: str) -> tuple[str, str]:
        """Action, payload."""
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
            one.sends += 1
            wait = min(ledger.RESEND_AFTER * 2**one.sends, ledger.MAX_RESEND)
            self.open[test_id] = min(self.now + wait, one.expires_at)
        elif action != "none":
            one.closing, one.held_by, one.lease_until = action, token, self.now + ledger.CLOSING_LEASE
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
        return "lost" if (one.attempts or 0) >= ledger.MAX_ATTEMPTS else "send"

    # -- signals

    def signal(self, key: str, name: str, value: str, ttl: float) -> set[str]:
        """The addresses it is published to."""
        told = self.told.setdefault(key, Told())
        told.arrived[name] = (value, self.now)
        self._keep("signals", key, max(SIGNAL_TTL, ceil(ttl)))
        return set(told.listeners)

    def listen(self, key: str, address: str, ttl: float) -> dict[str, tuple[str, float]]:
        """What has arrived."""
        told = self.told.setdefault(key, Told())
        told.listeners.add(address)
        self._keep("signals", key, max(SIGNAL_TTL, ceil(ttl)))
        return told.arrived

    # -- the suite

    def report(self, state: State, test_id: str | None) -> None:
        self.reports = [*self.reports, (str(state), test_id, self.now)][-MAX_REPORTS:]

    def suite_fail(self, state: State) -> bool:
        is_news = self.suite.is_ok or not self.suite.failed_within(DELAY, self.now)
        self.suite.status, self.suite.last_fail = state, self.now
        if is_news:
            self.report(state, None)
        return is_news

    def recovered(self) -> None:
        suite = self.suite
        if not suite.consecutive_failures and not suite.is_ok and not suite.failed_within(DELAY, self.now):
            suite.status = State.PASS

    def stalled(self, limit: float) -> float | None:
        suite = self.suite
        if suite.watched_since is None:
            suite.watched_since = self.now
        since = suite.watched_since if suite.last_test_received is None else suite.last_test_received
        if self.now - since <= limit:
            return None
        suite.last_test_received = self.now
        return self.now - (suite.watched_since if suite.received_at is None else suite.received_at)

    def claim_slot(self, period: float) -> bool:
        """One run in each period, half a period early at most; what is planned further off than that is no promise."""
        planned = self.suite.next_slot
        if planned is None or planned > self.now + 1.5 * period:
            planned = self.now
        if self.now < planned - period / 2:
            return False
        self.suite.next_slot = max(self.now, planned) + period
        return True
