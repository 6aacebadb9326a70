"""What must hold for the executions, signals and suite of one case, in plain Python.

Written from what the headers of the scripts promise, to be compared with a server: each method answers as the store
does, and `fields`, `suite`, `signals` … are what is to be found under the keys. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil

from livecheck_celery.models import State
from livecheck_celery.store import executions as store_executions
from livecheck_celery.store import schedule_runs
from livecheck_celery.store.database import FORGET_AFTER, KEEP
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.store.signals import SIGNAL_TTL

MAX_HISTORY = 3
MAX_REPORTS = 12
MAX_OPEN = 2
DELAY = 30.0  # state_transition_delay
WINDOWS = [Window(2.0, 1.0), Window(30.0, 5.0)]
STALLED_AFTER = [5.0, 30.0]

OPEN = "open"


def stamp(time: float) -> str:
    """A time as it is stored."""
    return f"{time:.6f}"


@dataclass(frozen=True)
class Message:
    """What asks for a run: ``number`` tells requests apart; ``recorded_at`` is None when it came without a record."""

    number: int
    test_id: str
    recorded_at: float | None = None


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
    was_triggered: bool = False
    verdict: State | None = None
    verdict_by: str | None = None
    answer: tuple[bool, float, int, State] | None = None

    def is_leased(self, now: float) -> bool:
        return self.lease_until is not None and self.lease_until > now

    def judge(self, verdict: State, token: str, answer: tuple[bool, float, int, State]) -> None:
        """All that is known of it from now on."""
        self.verdict, self.verdict_by, self.answer = verdict, token, answer
        self.payload = self.not_before = self.held_by = self.lease_until = self.outcome = self.attempts = None
        self.sends, self.started, self.closing = 0, False, None

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
class Run:
    """A run of a schedule that is being made, or whose maker fell silent."""

    token: str
    lease_until: float
    over_at: float
    attempts: int = 1
    told_until: float | None = None

    def fields(self) -> dict[str, str]:
        stored = {"run": self.token, "run_attempts": str(self.attempts)}
        stored |= {"run_until": stamp(self.lease_until), "run_over": stamp(self.over_at)}
        return stored if self.told_until is None else {**stored, "run_sent": stamp(self.told_until)}


@dataclass
class Suite:
    """How the case is doing; ``since`` is when the first of its tests was recorded."""

    since: float | None = None
    status: State | None = None
    consecutive_failures: int | None = None
    total_failures: int = 0
    totals: Counter[State] = field(default_factory=Counter)
    last_fail: float | None = None
    received_at: float | None = None
    last_test_received: float | None = None
    expected_since: float | None = None
    next_run: float | None = None
    run: Run | None = None

    @property
    def is_ok(self) -> bool:
        return self.status is None or self.status.is_ok()

    def failed_within(self, delay: float, now: float) -> bool:
        return self.last_fail is not None and now - self.last_fail <= delay

    def fields(self) -> dict[str, str]:
        times = {
            "since": self.since,
            "last_fail": self.last_fail,
            "received_at": self.received_at,
            "last_test_received": self.last_test_received,
            "expected_since": self.expected_since,
            "tat": self.next_run,
        }
        stored = {name: stamp(time) for name, time in times.items() if time is not None}
        stored.update({f"total:{state}": str(count) for state, count in self.totals.items()})
        if self.run is not None:
            stored.update(self.run.fields())
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


class ExecutionModel:
    """One case; ``now`` is the server's clock."""

    def __init__(self, now: float) -> None:
        self.now = now
        #: Every verdict that was accepted: number of the execution, token, state.
        self.verdicts: list[tuple[int, str, State]] = []
        #: Executions of which no more can be said, as what was known of them is lost.
        self.lost: set[int] = set()
        self._numbers = 0
        self.lose_everything()

    def lose_everything(self) -> None:
        """The server begins anew."""
        self.lost.update(range(self._numbers + 1))
        self.verdicts.clear()
        self.executions: dict[str, Execution] = {}
        self.open: dict[str, float] = {}
        self.told: dict[str, Told] = {}
        self.suite = Suite()
        self.frequency: list[float] = []
        self.latency: list[float] = []
        self.runtime: list[float] = []
        self.reports: list[tuple[str, str | None, float]] = []
        #: By what the key is of, when the key is gone.
        self.gone_at: dict[tuple[str, str], float] = {}

    # -- time

    def move(self, seconds: float) -> None:
        """Let time pass; what has outlived its TTL is gone."""
        self.now += seconds
        for what, test_id in [key for key, at in self.gone_at.items() if at <= self.now]:
            one = self.executions.get(test_id)
            if what == "test" and one is not None and (one.verdict is None or not one.was_triggered):
                self.lost.add(one.number)
            self._forget(what, test_id)

    def moments(self) -> list[float]:
        """When, from now on, something changes or is allowed."""
        suite, ones = self.suite, self.executions.values()
        times = [*self.open.values(), *self.gone_at.values()]
        times += [
            time for one in ones for time in (one.lease_until, one.expires_at, one.recorded_at + FORGET_AFTER) if time
        ]
        if suite.next_run is not None:
            times += [suite.next_run - window.early for window in WINDOWS]
            times += [suite.next_run - window.period * 1.5 for window in WINDOWS]
        if suite.run is not None:
            times += [suite.run.lease_until, suite.run.over_at, suite.run.told_until or 0.0]
        if suite.last_fail is not None:
            times.append(suite.last_fail + DELAY)
        if suite.expected_since is not None:
            since = max(suite.expected_since, suite.last_test_received or 0.0)
            times += [since + limit for limit in STALLED_AFTER]
        return sorted({time for time in times if time >= self.now})

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

    def _keep_exactly(self, what: str, test_id: str, seconds: float) -> None:
        self.gone_at[what, test_id] = self.now + seconds

    # -- executions

    def message(self, test_id: str, recorded_at: float | None = None) -> Message:
        """A new request."""
        self._numbers += 1
        return Message(self._numbers, test_id, recorded_at)

    def record(self, test_id: str, payload: str, expires_in: float, delay: float) -> Message | str:
        """The message to send; or why there is none."""
        earlier = self.executions.get(test_id)
        if earlier is not None and earlier.verdict is None:
            return "duplicate"
        if len(self.open) >= MAX_OPEN:
            return "backlog"
        if earlier is not None:
            self._forget("test", test_id)
            self._forget("signals", test_id)
        not_before = self.now + delay
        message = self.message(test_id, self.now)
        execution = self._new(message, payload, not_before + expires_in)
        execution.not_before, execution.was_triggered = not_before, True
        if test_id in self.told and expires_in + delay > 0:
            self._keep("signals", test_id, expires_in + delay)
        self.open[test_id] = min(not_before + store_executions.RESEND_AFTER, execution.expires_at)
        self._keep(OPEN, "", execution.expires_at - self.now + KEEP)
        return message

    def _new(self, message: Message, payload: str, expires_at: float) -> Execution:
        recorded_at = self.now if message.recorded_at is None else message.recorded_at
        execution = Execution(message.number, payload, recorded_at, expires_at)
        self.executions[message.test_id] = execution
        if self.suite.since is None:
            self.suite.since = self.now
        self._keep("test", message.test_id, expires_at - self.now + KEEP)
        return execution

    def _is_forgotten(self, message: Message) -> bool:
        """Whether an execution without a record had its verdict; else it is new, or Redis lost its record."""
        told_at, since = message.recorded_at, self.suite.since
        return told_at is not None and since is not None and since <= told_at <= self.now - FORGET_AFTER

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
        """Outcome, attempt, recorded_at, expires_at."""
        test_id, told_at = message.test_id, message.recorded_at
        one = self.executions.get(test_id)
        if one is None and told_at is not None and self._is_forgotten(message):
            return "done", 0, told_at, told_at
        one = one or self._new(message, payload, self.now + expires_in)
        is_repeated = one.held_by == token
        if told_at is not None and told_at < one.recorded_at:
            outcome = "done"
        else:
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
        self._keep_exactly("test", test_id, FORGET_AFTER if held.was_triggered else store_executions.REMEMBER)
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
        answer = (True, self.now, suite.consecutive_failures or 0, suite.status or State.INIT)
        held.judge(state, token, answer)
        return answer

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
            elif not told.listeners and self.gone_at["signals", test_id] > self.now + FORGET_AFTER:
                self._keep_exactly("signals", test_id, FORGET_AFTER)

    def due(self) -> list[str]:
        """The longest overdue first."""
        return sorted((one for one, at in self.open.items() if at <= self.now), key=lambda one: (self.open[one], one))

    def discard(self, test_id: str) -> None:
        """Also what happens when a failover loses the record."""
        if test_id in self.executions:
            self.lost.add(self.executions[test_id].number)
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

    # -- signals

    def signal(self, key: str, name: str, value: str, ttl: float) -> set[str]:
        """The addresses it is published to."""
        told = self.told.setdefault(key, Told())
        told.arrived[name] = (value, self.now)
        one = self.executions.get(key)
        if one is not None and one.verdict is not None:
            self._keep("signals", key, FORGET_AFTER)
        else:
            self._keep("signals", key, max(SIGNAL_TTL, ttl, 0 if one is None else one.expires_at - self.now))
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

    def fail_suite(self, state: State) -> bool:
        is_news = self.suite.is_ok or not self.suite.failed_within(DELAY, self.now)
        self.suite.status, self.suite.last_fail = state, self.now
        if is_news:
            self.report(state, None)
        return is_news

    def service_recovered(self) -> None:
        suite = self.suite
        if not suite.consecutive_failures and not suite.is_ok and not suite.failed_within(DELAY, self.now):
            suite.status = State.PASS

    def expect_tests(self) -> None:
        if self.suite.expected_since is None:
            self.suite.expected_since = self.now

    def stalled(self, limit: float | None) -> float | None:
        """No limit: the case is not active, and its time begins when it is."""
        suite = self.suite
        if limit is None:
            suite.expected_since = self.now
            return None
        self.expect_tests()
        if self.now - max(suite.expected_since or 0.0, suite.last_test_received or 0.0) <= limit:
            return None
        suite.last_test_received = self.now
        return self.now - max(suite.expected_since or 0.0, suite.received_at or 0.0)

    def status(self, limit: float | None) -> State:
        """What a reader sees who knows how long the case may be silent."""
        suite = self.suite
        since = max(suite.received_at or 0.0, suite.expected_since or 0.0)
        if limit is not None and since and self.now - since > limit:
            return State.STALL
        return suite.status or State.INIT

    # -- the runs of a schedule

    def claim_run(self, window: Window, token: str, lease: float) -> int:
        """Which attempt the caller is to make."""
        suite, run = self.suite, self.suite.run
        if run is not None and run.token == token:
            return run.attempts
        # A time that no run leaves so far away is no promise.
        if run is not None and self.now < run.lease_until <= self.now + 2 * lease:
            return 0
        planned = suite.next_run
        if planned is None or planned > self.now + 1.5 * window.period:
            planned = self.now
        if self.now >= planned - window.early:
            suite.next_run = max(self.now, planned) + window.period
            suite.run = Run(token, self.now + lease, suite.next_run - window.early)
            return 1
        if run is None or run.over_at <= self.now or run.attempts >= schedule_runs.MAX_ATTEMPTS:
            return 0
        run.token, run.lease_until, run.attempts = token, self.now + lease, run.attempts + 1
        return run.attempts

    def renew_run(self, token: str, lease: float) -> bool:
        run = self.suite.run
        if run is None or run.token != token:
            return False
        run.lease_until = self.now + lease
        return True

    def finish_run(self, token: str) -> bool:
        run = self.suite.run
        if run is None or run.token != token:
            return False
        self.suite.run = None
        return True

    def lapsed_run(self, lease: float) -> bool:
        run = self.suite.run
        if run is None or run.attempts >= schedule_runs.MAX_ATTEMPTS or not run.lease_until <= self.now < run.over_at:
            return False
        if run.told_until is not None and run.told_until > self.now:
            return False
        run.told_until = self.now + lease
        return True
