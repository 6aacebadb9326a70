"""Executions, one caller at a time: the replies and the stored state of each operation."""

from typing import Any

import pytest
import redis

from livecheck_celery.errors import DuplicateTest, InvalidPayload
from livecheck_celery.models import State
from livecheck_celery.store import Store, Verdict
from livecheck_celery.store.executions import FORGET_AFTER
from tests.helpers.executions import claim, due, judge
from tests.helpers.factories import CASE, make_report, make_signal, make_test
from tests.helpers.waiting import wait_until

FAILING = [State.FAIL, State.ERROR, State.TIMEOUT]


def run(store: Store, test_id: str, state: State, **options: Any) -> Verdict:
    test = make_test(test_id)
    store.executions.record(test, expires_in=60)
    claim(store, test)
    return judge(store, test, state, **options)


# -- record


def test_recorded_test_is_claimed_with_its_times(store: Store) -> None:
    test = make_test(test_args=["a"], test_kwargs={"side": "sell"}, synthetic=True)
    before = store.time()
    store.executions.record(test, expires_in=60)
    found = claim(store, test, expires_in=9)
    assert (found.outcome, found.attempt, found.signals) == ("run", 1, {})
    assert before <= found.recorded_at <= found.now <= store.time()
    assert found.expires_at == pytest.approx(found.recorded_at + 60, abs=0.001)


def test_duplicate_id_is_refused_while_open(store: Store, redis_client: redis.Redis) -> None:
    store.executions.record(make_test(test_args=[1]), expires_in=60)
    before = redis_client.hgetall(store.keys.test(CASE, "id-1"))
    with pytest.raises(DuplicateTest, match=r"shop.test_order:id-1"):
        store.executions.record(make_test(test_args=[2]), expires_in=99)
    assert redis_client.hgetall(store.keys.test(CASE, "id-1")) == before


def test_same_id_of_another_case_is_not_a_duplicate(store: Store) -> None:
    store.executions.record(make_test(), expires_in=60)
    store.executions.record(make_test(case_name="shop.test_other"), expires_in=60)


def test_id_is_reusable_after_its_verdict_without_old_signals(store: Store) -> None:
    store.signals.send(make_signal(), ttl=60)
    run(store, "id-1", State.PASS)
    store.executions.record(make_test(), expires_in=60)
    again = claim(store, make_test(), "t2")
    assert (again.outcome, again.attempt, again.signals) == ("run", 1, {})


def test_signals_that_arrive_before_the_record_are_kept(store: Store) -> None:
    store.signals.send(make_signal(), ttl=60)
    store.executions.record(make_test(), expires_in=60)
    assert list(claim(store, make_test()).signals) == ["order_sent"]


def test_delayed_test_is_neither_due_nor_expired_during_the_delay(store: Store) -> None:
    store.executions.record(make_test(), expires_in=60, delay=30)
    assert store.executions.due(CASE, 10) == []
    found = claim(store, make_test())
    assert found.expires_at == pytest.approx(found.recorded_at + 90, abs=0.001)


def test_arguments_that_are_not_json_are_refused_with_the_test_named(store: Store) -> None:
    with pytest.raises(InvalidPayload, match=r"shop.test_order:id-1: the arguments are not JSON"):
        store.executions.record(make_test(test_args=[object()]), expires_in=60)


# -- claim


def test_claim_records_a_test_without_a_record(store: Store) -> None:
    found = claim(store, make_test(), expires_in=60)
    assert (found.outcome, found.attempt) == ("run", 1)
    assert found.expires_at == pytest.approx(found.recorded_at + 60, abs=0.001)
    assert judge(store, make_test(), State.PASS).accepted


def test_repeated_claim_gives_the_same_answer_and_counts_once(store: Store) -> None:
    claim(store, make_test("earlier"), "t0")
    first = claim(store, make_test())
    again = claim(store, make_test())
    assert again[:4] == first[:4] == ("run", 1, first.recorded_at, first.expires_at)
    assert len(store.suites.statistics(CASE).frequency_history) == 1


def test_claim_of_a_held_test_is_busy_and_of_a_finished_one_done(store: Store) -> None:
    claim(store, make_test())
    assert claim(store, make_test(), "t2").outcome == "busy"
    judge(store, make_test(), State.PASS)
    assert claim(store, make_test(), "t2").outcome == "done"
    assert claim(store, make_test(), "t1").outcome == "done"


def test_lapsed_lease_can_be_claimed_and_invalidates_the_old_token(store: Store) -> None:
    claim(store, make_test(), lease=0.02)
    due(store)
    found = claim(store, make_test(), "t2")
    assert (found.outcome, found.attempt) == ("run", 2)
    assert not judge(store, make_test(), State.FAIL, "t1").accepted
    assert store.suites.statistics(CASE).total_by_state == {}
    assert judge(store, make_test(), State.PASS, "t2").accepted


def test_second_attempt_does_not_count_as_a_second_test(store: Store) -> None:
    claim(store, make_test(), lease=0.02)
    received = store.suites.statistics(CASE).last_test_received
    due(store)
    claim(store, make_test(), "t2")
    assert store.suites.statistics(CASE).frequency_history == []
    assert store.suites.statistics(CASE).last_test_received == received


@pytest.mark.parametrize(("active", "expires_in", "outcome"), [(True, 0, "expired"), (False, 60, "inactive")])
def test_skipped_test_is_claimed_but_not_counted_as_received(
    store: Store, active: bool, expires_in: float, outcome: str
) -> None:
    store.executions.record(make_test(), expires_in=expires_in)
    assert claim(store, make_test(), active=active).outcome == outcome
    assert claim(store, make_test(), active=active).outcome == outcome
    assert judge(store, make_test(), State.SKIP).accepted
    found = store.suites.statistics(CASE)
    assert (found.last_test_received, found.frequency_history) == (None, [])
    assert (found.status, found.total_by_state) == (State.INIT, {State.SKIP: 1})


def test_test_lost_before_its_expiry_is_closed_as_lost_by_the_sweep(store: Store) -> None:
    store.executions.record(make_test(), expires_in=0.3)
    first = claim(store, make_test(), lease=0.02)
    wait_until(lambda: store.time() > first.expires_at)
    assert claim(store, make_test(), "t2").outcome == "busy"
    assert store.executions.recover(CASE, "id-1", "s").action == "lost"


def test_frequency_is_the_time_between_tests_and_latency_its_excess_over_the_period(
    store: Store, redis_client: redis.Redis
) -> None:
    first = claim(store, make_test("1"), frequency=5.0)
    redis_client.hset(store.keys.suite(CASE), "received_at", first.now - 7)
    second = claim(store, make_test("2"), frequency=5.0)
    found = store.suites.statistics(CASE)
    assert found.frequency_history == [pytest.approx(second.now - first.now + 7, abs=1e-5)]
    assert found.latency_history == [pytest.approx(second.now - first.now + 2, abs=1e-5)]
    assert found.last_test_received == pytest.approx(second.now, abs=1e-5)


def test_test_that_comes_before_the_period_is_over_is_not_late(store: Store) -> None:
    for number in range(3):  # a real test between two fake requests
        claim(store, make_test(str(number)), frequency=60.0)
    assert store.suites.statistics(CASE).latency_history == [0.0, 0.0]


def test_latency_is_not_recorded_without_a_period(store: Store) -> None:
    claim(store, make_test("1"))
    claim(store, make_test("2"))
    assert store.suites.statistics(CASE).latency_history == []


def test_histories_keep_the_newest_entries(store: Store) -> None:
    for number in range(6):
        claim(store, make_test(str(number)), frequency=1.0)
        judge(store, make_test(str(number)), State.PASS, runtime=float(number))
    found = store.suites.statistics(CASE)
    assert found.runtime_history == [3.0, 4.0, 5.0]
    assert (len(found.frequency_history), len(found.latency_history)) == (3, 3)


# -- renew, release


def test_renewed_lease_keeps_other_claims_busy(store: Store) -> None:
    first = claim(store, make_test(), lease=0.05)
    assert store.executions.renew([(CASE, "id-1", "t1")], 30.0) == []
    wait_until(lambda: store.time() > first.now + 0.05)
    assert claim(store, make_test(), "t2").outcome == "busy"
    assert store.executions.due(CASE, 10) == []


def test_renewal_returns_the_leases_that_are_lost(store: Store) -> None:
    claim(store, make_test("a"))
    claim(store, make_test("b"))
    judge(store, make_test("b"), State.PASS)
    held = [(CASE, "a", "t1"), (CASE, "b", "t1"), (CASE, "a", "other"), (CASE, "gone", "t1")]
    # The test with a verdict of this token is not lost: its hooks can still run, and its verdict stands.
    assert store.executions.renew(held, 30.0) == held[2:]
    assert store.executions.renew([], 30.0) == []
    judge(store, make_test("a"), State.PASS, "other")
    assert store.executions.renew([(CASE, "a", "other")], 30.0) == [(CASE, "a", "other")]


def test_released_test_is_due_at_once_and_its_attempt_does_not_count(store: Store) -> None:
    claim(store, make_test())
    assert not store.executions.release(CASE, "id-1", "other")
    assert store.executions.release(CASE, "id-1", "t1")
    assert not store.executions.release(CASE, "id-1", "t1")
    assert store.executions.due(CASE, 10) == ["id-1"]
    assert store.executions.recover(CASE, "id-1", "s").action == "send"
    found = claim(store, make_test(), "t2")
    assert (found.outcome, found.attempt) == ("run", 1)
    assert not judge(store, make_test(), State.PASS, "t1").accepted


def test_renewal_and_release_create_no_set_without_ttl(store: Store, redis_client: redis.Redis) -> None:
    claim(store, make_test())
    redis_client.delete(store.keys.open(CASE))
    assert store.executions.renew([(CASE, "id-1", "t1")], 30.0) == []
    assert store.executions.release(CASE, "id-1", "t1")
    assert not redis_client.exists(store.keys.open(CASE))


# -- verdict


def test_pass_is_counted_and_restores_the_status(store: Store) -> None:
    run(store, "1", State.FAIL)
    found = run(store, "2", State.PASS, runtime=1.5)
    assert (found.accepted, found.consecutive_failures, found.status) == (True, 0, State.PASS)
    statistics = store.suites.statistics(CASE)
    assert statistics.status is State.PASS
    assert statistics.runtime_history == [1.5]
    assert statistics.total_by_state == {State.FAIL: 1, State.PASS: 1}
    assert (statistics.consecutive_failures, statistics.total_failures) == (0, 1)


@pytest.mark.parametrize("state", FAILING)
def test_failed_test_sets_the_status_but_not_last_fail(store: Store, state: State) -> None:
    run(store, "1", State.PASS)
    found = run(store, "2", state, runtime=9.0)
    assert (found.accepted, found.consecutive_failures, found.status) == (True, 1, state)
    statistics = store.suites.statistics(CASE)
    assert (statistics.status, statistics.last_fail, statistics.runtime_history) == (state, None, [])
    assert (statistics.consecutive_failures, statistics.total_failures) == (1, 1)


def test_skip_is_counted_and_changes_nothing_else(store: Store) -> None:
    run(store, "1", State.FAIL)
    found = run(store, "2", State.SKIP, runtime=0.1)
    assert (found.consecutive_failures, found.status) == (1, State.FAIL)
    statistics = store.suites.statistics(CASE)
    assert statistics.total_by_state == {State.FAIL: 1, State.SKIP: 1}
    assert statistics.runtime_history == []


def test_pass_resets_consecutive_failures(store: Store) -> None:
    for number in range(30):
        assert run(store, str(number), State.ERROR).consecutive_failures == number + 1
    assert run(store, "last", State.PASS).consecutive_failures == 0


def test_pass_soon_after_a_suite_failure_does_not_restore_the_status(store: Store) -> None:
    store.suites.fail(CASE, state=State.STALL, report=make_report(State.STALL), state_transition_delay=60, token="f")
    found = run(store, "1", State.PASS)
    assert (found.status, found.consecutive_failures) == (State.STALL, 0)
    assert run(store, "2", State.PASS, state_transition_delay=0).status is State.PASS


def test_repeated_verdict_gives_the_same_answer_and_counts_once(store: Store) -> None:
    first = run(store, "1", State.FAIL)
    run(store, "2", State.FAIL)
    assert judge(store, make_test("1"), State.FAIL) == first
    assert judge(store, make_test("1"), State.PASS) == first
    assert store.suites.statistics(CASE).total_by_state == {State.FAIL: 2}
    assert len(store.reports.latest([CASE], count=10)) == 2


def test_verdict_without_a_claim_or_a_record_is_refused(store: Store) -> None:
    assert not judge(store, make_test("never seen"), State.PASS).accepted
    store.executions.record(make_test(), expires_in=60)
    refused = judge(store, make_test(), State.PASS)
    assert (refused.accepted, refused.consecutive_failures, refused.status) == (False, 0, State.INIT)
    assert store.reports.latest([CASE], count=10) == []


def test_verdict_without_an_execution_is_an_error(store: Store) -> None:
    with pytest.raises(ValueError, match="must have an execution"):
        store.executions.verdict(make_report(), "t1", max_history=3, state_transition_delay=60)


def test_report_of_a_verdict_is_stored_unchanged_with_its_time(store: Store) -> None:
    test = make_test(test_args=[], test_kwargs={"empty": [], "nested": {"a": []}, "number": 0.1})
    claim(store, test)
    report = make_report(State.FAIL, test, runtime=0.5, signal_latency={"a": 1e-07}, error="Straße \"}'", traceback="…")
    verdict = store.executions.verdict(report, "t1", max_history=3, state_transition_delay=60)
    assert store.reports.latest([CASE], count=10) == [make_report(**{**vars(report), "at": verdict.at})]


def test_verdict_removes_the_listeners_of_workers_that_died(store: Store, redis_client: redis.Redis) -> None:
    test = make_test()
    store.executions.record(test, expires_in=600)
    claim(store, test, "t1", address="died", lease=0.01)
    wait_until(lambda: claim(store, test, "t2", address="here").outcome == "run")
    judge(store, test, token="t2")
    assert redis_client.hgetall(store.keys.signals(CASE, test.id)) == {}
    assert redis_client.ttl(store.keys.test(CASE, test.id)) <= FORGET_AFTER


def test_verdict_keeps_the_registration_of_another_test_in_its_process(store: Store, redis_client: redis.Redis) -> None:
    test = make_test()
    store.signals.listen(CASE, test.id, "here", ttl=600)
    claim(store, test, address="here")
    judge(store, test)
    assert list(redis_client.hgetall(store.keys.signals(CASE, test.id))) == [">here"]


def test_verdict_closes_the_execution_and_removes_its_listener(store: Store, redis_client: redis.Redis) -> None:
    run(store, "1", State.PASS)
    assert redis_client.zcard(store.keys.open(CASE)) == 0
    assert redis_client.hgetall(store.keys.signals(CASE, "1")) == {}
    assert "payload" not in redis_client.hgetall(store.keys.test(CASE, "1"))
