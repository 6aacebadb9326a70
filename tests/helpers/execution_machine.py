"""A server whose clock is a key, and the model of executions, compared after each step."""

from __future__ import annotations

import json
import re

from hypothesis.stateful import RuleBasedStateMachine, invariant

from livecheck_celery.models import State, TestExecution
from livecheck_celery.store import Store
from tests.helpers.execution_model import DELAY, LATE, OPEN, REPORTS, ExecutionModel
from tests.helpers.execution_records import Message, stamp
from tests.helpers.factories import CASE, make_report, make_test

CLOCK = "clock"
#: Times are multiples of a quarter of a second after this, which floats hold exactly.
BEGIN = 1_800_000_000.0
TICK = 0.25
#: Maximum seconds by which TTLs on the server can be lower than in the model, since they were last set.
DRIFT = 20.0
#: Minimum seconds of a TTL that is moved along, so that the server's own clock deletes no key that the model has.
SHORTEST = 5.0
#: Maximum seconds by which TTLs on the server can be higher, which scripts read in whole seconds.
ROUNDED = 1.5

IDS = ["a", "b", "c"]
PROCESSES = ["here", "there"]


def with_our_clock(source: str) -> str:
    """Return the source of a script, changed to read the time from a key."""
    changed, times = re.subn(r"redis\.call\('TIME'\)", f"redis.call('LRANGE', '{CLOCK}', 0, 1)", source)
    assert times == len(re.findall(r"\bTIME\b", source)), (
        "a script reads the time in a way that this test does not replace"
    )
    return changed


class ServerAndModel(RuleBasedStateMachine):
    """A server and the model, compared after each step; rules do the same to both."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.client = store.client
        self.keys = store.keys
        self.made = 0
        #: Every message so far.
        self.messages: list[Message] = []
        #: Every claim so far: message, token, address.
        self.claims: list[tuple[Message, str, str]] = []
        #: Every recovery so far: id, token.
        self.sweeps: list[tuple[str, str]] = []
        #: Token of every schedule run so far.
        self.runs: list[str] = []
        self.client.flushall()
        self.model = ExecutionModel(BEGIN)
        self._set_clock()
        self.published = self.client.pubsub()
        self.published.subscribe(*[self.keys.inboxes + process for process in PROCESSES])
        for _ in PROCESSES:
            self.published.get_message(timeout=5)

    def teardown(self) -> None:
        self.published.close()

    def _set_clock(self) -> None:
        seconds, rest = divmod(self.model.now, 1)
        pipeline = self.client.pipeline()
        pipeline.delete(CLOCK)
        pipeline.rpush(CLOCK, int(seconds), int(rest * 1_000_000))
        pipeline.execute()

    def _new_test(self, test_id: str, recorded_at: float | None = None) -> TestExecution:
        self.made += 1
        return make_test(test_id, test_args=[self.made], recorded_at=recorded_at)

    def _token(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made}"

    def _key(self, what: str, test_id: str) -> str:
        if what == OPEN:
            return self.keys.open(CASE)
        if what == REPORTS:
            return self.keys.reports(CASE)
        if what == LATE:
            return self.keys.late(CASE)
        return self.keys.test(CASE, test_id) if what == "test" else self.keys.signals(CASE, test_id)

    def _move(self, seconds: float) -> None:
        gone = set(self.model.gone_at)
        self.model.move(seconds)
        pipeline = self.client.pipeline()
        for key in gone - set(self.model.gone_at):
            pipeline.delete(self._key(*key))
        for key, at in self.model.gone_at.items():
            pipeline.pexpire(self._key(*key), int(max(SHORTEST, at - self.model.now) * 1000))
        pipeline.execute()
        self._set_clock()

    def _fail_suite(self, state: State) -> None:
        token, report = self._token("f"), make_report(state)
        expected = self.model.fail_suite(state, token)
        for _ in range(2):  # the second call repeats the first
            found = self.store.suites.fail(CASE, state=state, report=report, state_transition_delay=DELAY, token=token)
            assert found == expected

    # -- comparison after each step

    @invariant()
    def server_agrees_with_the_model(self) -> None:
        model, keys = self.model, self.keys
        timed = {self._key(*key): at - model.now for key, at in model.gone_at.items()}
        pipeline = self.client.pipeline(transaction=False)
        for test_id in IDS:
            pipeline.hgetall(keys.test(CASE, test_id))
            pipeline.hgetall(keys.signals(CASE, test_id))
        pipeline.zrange(keys.open(CASE), 0, -1, withscores=True)
        pipeline.hgetall(keys.suite(CASE))
        for key in (keys.frequency(CASE), keys.latency(CASE), keys.runtime(CASE)):
            pipeline.lrange(key, 0, -1)
        for key in (keys.reports(CASE), keys.late(CASE)):
            pipeline.xrange(key)
        pipeline.hget(keys.checks, CASE)
        pipeline.keys("*")
        for key in timed:
            pipeline.pttl(key)
        replies = pipeline.execute()
        *stored, open_, state, frequency, latency, runtime, reports, late, checked, everything = replies[
            : 2 * len(IDS) + 9
        ]
        for at, test_id in enumerate(IDS):
            self._compare_execution(test_id, stored[2 * at])
            self._compare_signals(test_id, stored[2 * at + 1])
        assert dict(open_) == model.open
        open_bytes = int(state.pop("open_bytes", 0))
        assert open_bytes > 0 or not model.open
        state.pop("kept", None)
        if checked is not None:  # a check that passed the suite over is in the index
            state["checked_at"] = max(state["checked_at"], checked.split()[0], key=float)
        assert state == model.suite.fields()
        assert [float(one) for one in frequency] == model.frequency
        assert [float(one) for one in latency] == model.latency
        assert [float(one) for one in runtime] == model.runtime
        assert {REPORTS: _reports(reports), LATE: _reports(late)} == model.reports
        self._compare_times_to_live(timed, set(everything), replies[2 * len(IDS) + 9 :])
        self._check_invariants(dict(open_), state)

    def _compare_execution(self, test_id: str, stored: dict[str, str]) -> None:
        one = self.model.executions.get(test_id)
        answer = stored.pop("verdict_reply", None)
        late = {field.removeprefix("late:") for field in stored if field.startswith("late:")}
        assert late == (one.late if one else set())
        verdict_at = stored.pop("verdict_at", None)
        assert verdict_at == (None if one is None or one.answer is None else stamp(one.answer[1]))
        stored = {
            field: text
            for field, text in stored.items()
            if field not in ("use", "nonce", "limits", "synthetic", "signal_bytes") and field[:5] != "late:"
        }
        assert stored == ({} if one is None else one.fields())
        expected = None if one is None or one.answer is None else one.answer
        assert (answer and json.loads(answer)) == (expected and [1, stamp(expected[1]), *expected[2:5], *expected[5]])

    def _compare_signals(self, test_id: str, stored: dict[str, str]) -> None:
        expected = self.model.signals.get(test_id)
        assert {field[1:] for field in stored if field.startswith(">")} == (expected.listeners if expected else set())
        events = {name: json.loads(text) for name, text in stored.items() if name[0] not in ">+"}
        found = {name: (event["value"], event["received_at"]) for name, event in events.items()}
        assert found == (expected.arrived if expected else {})
        counted = {name: (event["arrivals"], event["first_at"]) for name, event in events.items()}
        counts = expected.counted if expected else {}
        assert counted == {name: (max(1, arrivals), first_at) for name, (arrivals, first_at) in counts.items()}

    def _compare_times_to_live(self, timed: dict[str, float], everything: set[str], left: list[int]) -> None:
        keys = self.keys
        lasting = {
            CLOCK,
            keys.open_cases,
            keys.checks,
            keys.suite(CASE),
            keys.unrecorded(CASE),
            keys.unrecorded_bytes(CASE),
        }
        lasting |= {keys.frequency(CASE), keys.latency(CASE), keys.runtime(CASE)}
        assert everything - lasting == set(timed)
        found = {key: milliseconds / 1000 for key, milliseconds in zip(timed, left, strict=True)}
        longest = {key: max(SHORTEST, seconds) + ROUNDED for key, seconds in timed.items()}
        assert {key: ttl for key, ttl in found.items() if not timed[key] - DRIFT < ttl <= longest[key]} == {}

    def _check_invariants(self, open_: dict[str, float], state: dict[str, str]) -> None:
        verdicts = self.model.verdicts
        numbers = [number for number, _, _ in verdicts if number not in self.model.lost]
        assert len(numbers) == len(set(numbers)), "an execution with two verdicts"
        totals = {field: int(count) for field, count in state.items() if field.startswith("total:")}
        assert sum(totals.values()) == len(verdicts), "the counters differ from the verdicts"
        assert int(state.get("total_failures", 0)) == sum(not verdict.is_ok() for _, _, verdict in verdicts)
        waiting = {test_id for test_id, one in self.model.executions.items() if one.verdict is None}
        assert waiting <= set(open_), "without a verdict and not open"


def _reports(entries: list[tuple[str, dict[str, str]]]) -> list[tuple[str, str | None, float]]:
    found = [json.loads(fields["report"]) for _, fields in entries]
    return [(one["state"], (one.get("test") or {}).get("id"), one["at"]) for one in found]
