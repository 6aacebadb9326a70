"""The scripts on a real server against a model in plain Python, step by step.

The scripts are unchanged except for the clock: they read the time from a key, so that hours pass at once. TTLs are
moved along with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as configured
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from livecheck_celery.errors import DuplicateTest, TooManyTests
from livecheck_celery.models import EXECUTION, State
from livecheck_celery.store import Store
from livecheck_celery.store.database import FORGET_AFTER
from livecheck_celery.store.encoding import execution_json
from livecheck_celery.store.schedule_runs import Window
from tests.helpers.execution_machine import IDS, PROCESSES, TICK, ServerAndModel
from tests.helpers.execution_model import DELAY, MAX_HISTORY, STALLED_AFTER, WINDOWS
from tests.helpers.execution_records import LIMITS, Message
from tests.helpers.factories import CASE, make_report, make_signal, make_test

VERDICTS = [State.PASS, State.FAIL, State.ERROR, State.TIMEOUT, State.SKIP]

ids = st.sampled_from(IDS)
processes = st.sampled_from(PROCESSES)
lives = st.sampled_from([0.0, 5.0, 40.0, 600.0, 600.0])
leases = st.sampled_from([5.0, 9.0, 60.0])
run_leases = st.sampled_from([5.0, 9.0])
rarely = st.sampled_from([False] * 7 + [True])
#: Index of an earlier token, counted from the last.
tokens = st.integers(0, 9)


class Machine(ServerAndModel):
    """The operations of the store."""

    # -- time

    @rule(ticks=st.sampled_from([1, 4, 20, 120, 480, 2400, 14400, 400_000]))
    def time_passes(self, ticks: int) -> None:
        self._move(ticks * TICK)

    @precondition(lambda self: self.model.moments())
    @rule(which=st.integers(0, 19), beyond=st.sampled_from([0, 0, 1]))
    def time_passes_until_something_changes(self, which: int, beyond: int) -> None:
        moments = self.model.moments()
        self._move(moments[which % len(moments)] - self.model.now + beyond * TICK)

    # -- executions

    @rule(test_id=ids, expires_in=lives, delay=st.sampled_from([0.0, 0.0, 0.0, 20.0, 100.0]))
    def trigger(self, test_id: str, expires_in: float, delay: float) -> None:
        # Two triggers never have the same time.
        self._move(TICK)
        test = self._new_test(test_id)
        outcome: float | str | None
        try:
            outcome = self.store.executions.record(test, expires_in=expires_in, delay=delay).recorded_at
        except DuplicateTest:
            outcome = "duplicate"
        except TooManyTests:
            outcome = "backlog"
        expected = self.model.record(test_id, execution_json(test), expires_in, delay)
        if isinstance(expected, Message):
            self.messages.append(expected)
        assert outcome == (expected.recorded_at if isinstance(expected, Message) else expected)

    @rule(
        test_id=ids,
        address=processes,
        state=st.sampled_from([State.PASS, *VERDICTS]),
        waits=st.booleans(),
        late=st.sampled_from([None, FORGET_AFTER - TICK, float(FORGET_AFTER), FORGET_AFTER + TICK]),
    )
    def execution_reaches_its_verdict(
        self, test_id: str, address: str, state: State, waits: bool, late: float | None
    ) -> None:
        """From the trigger to the verdict, around the state transition delay; then the message is perhaps repeated."""
        last_fail = self.model.suite.last_fail
        if waits and last_fail is not None:
            self._move(max(0.0, last_fail + DELAY - TICK - self.model.now))
        sent = len(self.messages)
        self.trigger(test_id, 600.0, 0.0)
        if len(self.messages) == sent:
            return
        message, token = self.messages[-1], self._token("t")
        options: dict[str, Any] = {"lease": 60.0, "active": True, "period": None, "expires_in": 600.0}
        self._claim(message, token, address, **options)
        self._judge(test_id, token, state, 0.5)
        if late is not None:
            self._move(late)
            self._claim(message, self._token("t"), address, **options)

    @precondition(lambda self: self._without_a_record())
    @rule(data=st.data(), address=processes, expires_in=lives)
    def message_whose_record_is_gone(self, data: st.DataObject, address: str, expires_in: float) -> None:
        message = data.draw(st.sampled_from(self._without_a_record()))
        token = self._token("t")
        self._claim(message, token, address, lease=5.0, active=True, period=None, expires_in=expires_in)

    def _without_a_record(self) -> list[Message]:
        return [message for message in self.messages if message.test_id not in self.model.executions]

    @precondition(lambda self: self.messages)
    @rule(
        back=tokens,
        address=processes,
        lease=leases,
        active=st.sampled_from([True, True, True, False]),
        period=st.sampled_from([None, 2.0]),
        expires_in=lives,
    )
    def message(self, back: int, address: str, **options: Any) -> None:
        """The first message of a request, or a repeated one."""
        self._claim(self.messages[-1 - back % len(self.messages)], self._token("t"), address, **options)

    @rule(test_id=ids, address=processes, lease=leases, expires_in=lives, active=st.booleans())
    def message_without_a_record(
        self, test_id: str, address: str, lease: float, expires_in: float, active: bool
    ) -> None:
        message = self.model.message(test_id)
        self.messages.append(message)
        token = self._token("t")
        self._claim(message, token, address, lease=lease, active=active, period=None, expires_in=expires_in)

    @precondition(lambda self: self.model.open)
    @rule(which=st.integers(0, 2), address=processes, lease=leases)
    def message_arrives_when_an_execution_is_due(self, which: int, address: str, lease: float) -> None:
        test_id = self._wait_for(which)
        messages = [message for message in self.messages if message.test_id == test_id]
        if messages:
            token = self._token("t")
            self._claim(messages[-1], token, address, lease=lease, active=True, period=2.0, expires_in=40.0)

    @precondition(lambda self: self.model.open)
    @rule(which=st.integers(0, 2))
    def sweep_runs_when_an_execution_is_due(self, which: int) -> None:
        test_id = self._wait_for(which)
        self.sweeps.append((test_id, self._token("s")))
        self._recover(*self.sweeps[-1])

    def _wait_for(self, which: int) -> str:
        """Let time pass until one of the open executions is due; its id."""
        at, test_id = sorted((at, test_id) for test_id, at in self.model.open.items())[which % len(self.model.open)]
        self._move(max(0.0, at - self.model.now))
        return test_id

    @precondition(lambda self: self.claims)
    @rule(back=tokens, lease=leases, expires_in=lives)
    def claim_again(self, back: int, lease: float, expires_in: float) -> None:
        message, token, address = self.claims[-1 - back % len(self.claims)]
        self._claim(message, token, address, lease=lease, active=True, period=2.0, expires_in=expires_in)

    def _claim(self, message: Message, token: str, address: str, **options: Any) -> None:
        self.claims.append((message, token, address))
        test_id = message.test_id
        test = self._new_test(test_id, message.recorded_at)
        expected = self.model.claim(message, execution_json(test), token, address, **options)
        options["frequency"] = options.pop("period")
        found = self.store.executions.claim(test, token=token, address=address, max_history=MAX_HISTORY, **options)
        assert found[:4] == expected
        if found.outcome == "done" and message.recorded_at is not None and message.number not in self.model.lost:
            assert message.number in [number for number, _, _ in self.model.verdicts], "refused without a verdict"
        assert found.now == self.model.now
        expected_signals = self.model.signals[test_id].readable if found.outcome not in ("done", "busy") else {}
        assert {name: (event.value, event.received_at) for name, event in found.signals.items()} == expected_signals

    @precondition(lambda self: self.claims)
    @rule(back=st.lists(tokens, min_size=1, max_size=3), lease=leases)
    def renew(self, back: list[int], lease: float) -> None:
        claims = [self.claims[-1 - one % len(self.claims)] for one in back]
        held = [(CASE, message.test_id, token) for message, token, _ in claims]
        lost = [one for one in held if not self.model.renew(*one[1:], lease)]
        assert self.store.executions.renew(held, lease) == lost

    @precondition(lambda self: self.claims)
    @rule(back=tokens)
    def release(self, back: int) -> None:
        message, token, _ = self.claims[-1 - back % len(self.claims)]
        assert self.store.executions.release(CASE, message.test_id, token) == self.model.release(message.test_id, token)

    # -- verdicts

    @precondition(lambda self: any(one.held_by and not one.closing for one in self.model.executions.values()))
    @rule(data=st.data(), state=st.sampled_from(VERDICTS), runtime=st.sampled_from([None, 0.5, 1.5]))
    def runner_finishes(self, data: st.DataObject, state: State, runtime: float | None) -> None:
        current = {one.held_by for one in self.model.executions.values() if one.verdict is None}
        held = [one for one in self.claims if one[1] in current]
        if held:
            message, token, _ = data.draw(st.sampled_from(held))
            self._judge(message.test_id, token, state, runtime)

    @precondition(lambda self: self.claims)
    @rule(back=tokens, state=st.sampled_from(VERDICTS))
    def some_runner_finishes(self, back: int, state: State) -> None:
        message, token, _ = self.claims[-1 - back % len(self.claims)]
        self._judge(message.test_id, token, state, 2.5)

    @precondition(lambda self: self.sweeps)
    @rule(back=tokens, state=st.sampled_from([State.ERROR, State.TIMEOUT, State.SKIP]))
    def some_sweeper_closes(self, back: int, state: State) -> None:
        test_id, token = self.sweeps[-1 - back % len(self.sweeps)]
        self._judge(test_id, token, state, 0.0)

    def _judge(self, test_id: str, token: str, state: State, runtime: float | None) -> None:
        report = make_report(state, make_test(test_id), runtime=runtime)
        found = self.store.executions.verdict(
            report, token, max_history=MAX_HISTORY, state_transition_delay=DELAY, limits=LIMITS
        )
        assert found == self.model.verdict(test_id, token, state, runtime)

    # -- the sweep

    @precondition(lambda self: self.model.due())
    @rule(limit=st.integers(1, len(IDS)), data=st.data())
    def sweep(self, limit: int, data: st.DataObject) -> None:
        due = self.store.executions.due(CASE, limit)
        assert due == self.model.due()[:limit]
        test_id = data.draw(st.sampled_from(due))
        token = self._token("s")
        self.sweeps.append((test_id, token))
        self._recover(test_id, token)

    @rule(test_id=ids)
    def sweep_an_execution_that_may_not_be_due(self, test_id: str) -> None:
        token = self._token("s")
        self.sweeps.append((test_id, token))
        self._recover(test_id, token)

    @precondition(lambda self: self.messages)
    @rule(back=tokens, sure=st.integers(0, 3))
    def task_is_revoked(self, back: int, sure: int) -> None:
        message = self.messages[-1 - back % len(self.messages)]
        token = self.sweeps[-1][1] if self.sweeps and not sure else self._token("r")
        self.sweeps.append((message.test_id, token))
        test = self._new_test(message.test_id, message.recorded_at)
        assert self.store.executions.revoke(test, token) == self.model.revoke(message, token)

    @precondition(lambda self: self.sweeps)
    @rule(back=tokens)
    def sweep_again(self, back: int) -> None:
        self._recover(*self.sweeps[-1 - back % len(self.sweeps)])

    def _recover(self, test_id: str, token: str) -> None:
        action, test = self.store.executions.recover(CASE, test_id, token)
        one = self.model.executions.get(test_id)
        expected, payload = self.model.recover(test_id, token)
        assert action == expected
        if action != "none":
            assert one is not None
            assert test == EXECUTION.validate_json(payload)
            assert test.recorded_at == one.recorded_at

    @precondition(lambda self: self.model.executions)
    @rule(data=st.data(), sure=st.integers(0, 3))
    def record_is_lost(self, data: st.DataObject, sure: int) -> None:
        """By a failover, or discarded because it cannot be parsed."""
        if sure:
            return
        test_id = data.draw(st.sampled_from(sorted(self.model.executions)))
        self.store.executions.discard(CASE, test_id)
        self.model.discard(test_id)

    @rule(is_rare=rarely)
    def server_loses_everything(self, is_rare: bool) -> None:
        if not is_rare:
            return
        self.client.flushall()
        self.model.lose_everything()
        self._set_clock()

    # -- signals

    @rule(key=ids, name=st.sampled_from(["sent", "paid"]), ttl=st.sampled_from([0.0, 50.0, 300.0]))
    def signal(self, key: str, name: str, ttl: float) -> None:
        self.made += 1
        self.store.signals.send(make_signal(name, str(self.made), key), ttl=ttl)
        listeners = self.model.signal(key, name, str(self.made), ttl)
        heard = [self.published.get_message(timeout=5) for _ in listeners]
        assert {one["channel"] for one in heard} == {self.keys.inboxes + address for address in listeners}
        assert {json.loads(one["data"])["value"] for one in heard} <= {str(self.made)}
        assert self.published.get_message(timeout=0) is None, "published to an address the model does not have"

    @rule(key=ids, address=processes, ttl=st.sampled_from([0.0, 300.0]))
    def listen(self, key: str, address: str, ttl: float) -> None:
        found = self.store.signals.listen(CASE, key, address, ttl=ttl)
        expected = self.model.listen(key, address, ttl)
        assert {name: (event.value, event.received_at) for name, event in found.items()} == expected

    # -- the suite

    @rule(state=st.sampled_from([State.FAIL, State.ERROR]))
    def suite_fails(self, state: State) -> None:
        self._fail_suite(state)

    @rule(state=st.sampled_from(VERDICTS))
    def report_is_posted(self, state: State) -> None:
        assert self.store.reports.post(make_report(state)).at == self.model.now
        self.model.report(state, None)

    @rule()
    def service_recovers(self) -> None:
        self.store.suites.service_recovered(CASE, state_transition_delay=DELAY)
        self.model.service_recovered()

    @rule(limit=st.sampled_from([*STALLED_AFTER, None]))
    def tests_are_expected(self, limit: float | None) -> None:
        self.store.suites.expect_tests({CASE: limit})
        self.model.stalled(limit, report=False)

    @rule(limit=st.sampled_from([*STALLED_AFTER, None]))
    def stall_check(self, limit: float | None) -> None:
        since = self.model.stalled(limit)
        assert self.store.suites.stalled({CASE: limit}) == ({} if since is None else {CASE: since})

    @rule(limit=st.sampled_from([*STALLED_AFTER, None]))
    def status_is_read(self, limit: float | None) -> None:
        assert self.store.suites.statistics(CASE, stalled_after=limit).status == self.model.suite.status_at(
            self.model.now, limit
        )

    # -- the runs of a schedule

    @rule(window=st.sampled_from(WINDOWS), lease=run_leases)
    def beat_ticks(self, window: Window, lease: float) -> None:
        self.runs.append(self._token("r"))
        self._claim_run(self.runs[-1], window, lease)

    @precondition(lambda self: self.runs)
    @rule(back=tokens, window=st.sampled_from(WINDOWS), lease=run_leases)
    def run_is_claimed_again(self, back: int, window: Window, lease: float) -> None:
        self._claim_run(self.runs[-1 - back % len(self.runs)], window, lease)

    def _claim_run(self, token: str, window: Window, lease: float) -> None:
        expected = self.model.claim_run(window, token, lease)
        assert self.store.schedule_runs.claim(CASE, window, token=token, lease=lease) == expected

    @precondition(lambda self: self.runs)
    @rule(back=tokens, lease=run_leases)
    def run_is_renewed(self, back: int, lease: float) -> None:
        token = self.runs[-1 - back % len(self.runs)]
        assert self.store.schedule_runs.renew(CASE, token, lease=lease) == self.model.renew_run(token, lease)

    @precondition(lambda self: self.runs)
    @rule(back=tokens)
    def run_is_finished(self, back: int) -> None:
        token = self.runs[-1 - back % len(self.runs)]
        assert self.store.schedule_runs.finish(CASE, token) == self.model.finish_run(token)

    @rule(lease=run_leases)
    def lapsed_runs_are_resent(self, lease: float) -> None:
        assert self.store.schedule_runs.lapsed([CASE], lease=lease) == [CASE] * self.model.lapsed_run(lease)


def machine_on(store: Store) -> Callable[[], Machine]:
    """A factory of machines for Hypothesis."""
    return lambda: Machine(store)


@pytest.mark.timeout(400)  # Hypothesis minimizes a failure before it shows it
def test_scripts_agree_with_the_model(clocked: Store) -> None:
    run_state_machine_as_test(
        machine_on(clocked),
        settings=configured(
            max_examples=200,
            stateful_step_count=60,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_message_of_an_earlier_use_runs_if_the_record_of_the_later_one_is_lost(clocked: Store) -> None:
    """A sequence that the model once took for an execution with two verdicts."""
    machine = Machine(clocked)
    machine.execution_reaches_its_verdict("a", "here", State.PASS, False, None)
    machine.trigger("a", 600.0, 0.0)
    clocked.executions.discard(CASE, "a")
    machine.model.discard("a")
    machine.message(1, "here", lease=60.0, active=True, period=None, expires_in=600.0)
    machine.some_runner_finishes(0, State.PASS)
    machine.server_agrees_with_the_model()
    machine.teardown()
