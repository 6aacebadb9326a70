"""Suites, one caller at a time."""

import uuid

import pytest
import redis

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import State
from livecheck_celery.store import Store, suites
from livecheck_celery.store.redis.cluster import Cluster
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_test
from tests.helpers.waiting import wait_until


def fail(store: Store, state: State = State.FAIL, delay: float = 60.0, token: str | None = None) -> bool:
    report, token = make_report(state, error="why"), token or uuid.uuid4().hex
    return store.suites.fail(CASE, state=state, report=report, state_transition_delay=delay, token=token)


def receive_test(store: Store, test_id: str = "id-1") -> float:
    return claim(store, make_test(test_id)).now


# -- fail, service_recovered


def test_second_suite_failure_within_the_delay_is_not_reported(store: Store) -> None:
    assert fail(store, State.FAIL)
    first = store.suites.statistics(CASE)
    assert not fail(store, State.STALL)
    second = store.suites.statistics(CASE)
    assert (first.status, second.status) == (State.FAIL, State.STALL)
    assert first.last_fail is not None
    assert second.last_fail is not None
    assert second.last_fail > first.last_fail
    assert second.seconds_since_last_fail is not None
    assert 0 <= second.seconds_since_last_fail < 1
    assert [report.state for report in store.reports.latest([CASE], count=9)] == [State.FAIL]
    assert store.reports.latest([CASE], count=9)[0].at == pytest.approx(first.last_fail)


def test_suite_failure_that_is_repeated_has_the_same_reply_and_is_reported_once(store: Store) -> None:
    assert [fail(store, token="a"), fail(store, token="a"), fail(store, token="b")] == [True, True, False]
    assert len(store.reports.latest([CASE], count=9)) == 1


def test_suite_failure_is_reported_again_after_the_delay(store: Store) -> None:
    assert fail(store, delay=0.02)
    wait_until(lambda: (store.suites.statistics(CASE).seconds_since_last_fail or 0) > 0.02)
    assert fail(store, delay=0.02)


def test_failure_of_a_recovered_suite_is_reported_within_the_delay(store: Store) -> None:
    assert fail(store)
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.PASS
    assert fail(store)


def test_first_suite_failure_is_reported_after_failed_tests(store: Store) -> None:
    receive_test(store)
    judge(store, make_test(), State.ERROR)
    assert fail(store)


def test_recovery_of_a_service_restores_the_status_only_after_the_delay(store: Store) -> None:
    fail(store)
    store.suites.service_recovered(CASE, state_transition_delay=60)
    assert store.suites.statistics(CASE).status is State.FAIL
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.PASS


def test_recovery_of_a_service_leaves_an_initial_status(store: Store) -> None:
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.INIT


# -- stalled


def stalled(store: Store, after: float | None) -> float | None:
    return store.suites.stalled({CASE: after}).get(CASE)


def status(store: Store, after: float | None) -> State:
    """Return the status as both readers give it; read again if it changed between the two."""

    def read() -> set[State]:
        one = store.suites.statistics(CASE, stalled_after=after).status
        found = {one, *store.suites.health({CASE: after}).statuses.values()}
        return found if len(found) == 1 else set()

    [status] = wait_until(read, what="the two readers to agree")
    return status


def test_stall_is_reported_once_in_each_period_without_a_test(store: Store) -> None:
    received = receive_test(store)
    assert stalled(store, 0.3) is None
    first = wait_until(lambda: stalled(store, 0.3))
    assert 0.3 < first <= store.time() - received
    assert stalled(store, 0.3) is None
    second = wait_until(lambda: stalled(store, 0.3))
    assert second > first + 0.3


def test_stall_is_reported_although_redis_fails_after_it_was_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RedisUnavailable("did not answer")

    receive_test(store)
    monkeypatch.setattr(store.suites.stall_checks, "note", fail)
    assert wait_until(lambda: stalled(store, 0.1))


def test_checks_of_a_cluster_look_at_each_suite(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server can be down while that of the times of the checks is not; that time is no silence."""
    key = store.keys.suite(CASE)
    for is_cluster in (False, True):
        monkeypatch.setattr(suites, "Cluster", type(store.client) if is_cluster else Cluster)
        stalled(store, 60)
        redis_client.hset(key, "checked_at", 1)
        stalled(store, 60)
        assert (redis_client.hget(key, "checked_at") != "1") == is_cluster


def test_each_case_stalls_after_its_own_time(store: Store) -> None:
    assert store.suites.stalled({"a": 0.2, "b": 60.0, "c": 0.2, "off": None}) == {}
    found: set[str] = set()
    wait_until(
        lambda: found.update(store.suites.stalled({"a": 0.2, "b": 60.0, "c": 0.2, "off": None})) or len(found) == 2
    )
    assert found == {"a", "c"}


def test_unreadable_case_does_not_hide_the_stall_of_another(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.set(store.keys.suite("broken"), "x")
    assert store.suites.stalled({"broken": 0.1}) == {}
    for _ in range(3):
        assert store.suites.stalled({"broken": 0.1, CASE: 60.0}) == {}
    assert [line[:46] for line in caplog.messages] == ["store: skipped Redis key livecheck:{broken}:su"], (
        "once a minute"
    )
    redis_client.hset(store.keys.suite(CASE), "expected_since", 1)
    redis_client.delete(store.keys.checks)
    assert list(store.suites.stalled({"broken": 0.1, CASE: 60.0})) == [CASE]
    redis_client.delete(store.keys.suite("broken"))


def test_case_without_a_test_stalls_from_when_tests_were_first_expected(
    store: Store, redis_client: redis.Redis
) -> None:
    store.suites.expect_tests({CASE: 0.3, "another": None})
    expected_since = redis_client.hget(store.keys.suite(CASE), "expected_since")
    store.suites.expect_tests({CASE: 0.3})
    assert stalled(store, 0.3) is None
    assert redis_client.hget(store.keys.suite(CASE), "expected_since") == expected_since
    assert wait_until(lambda: stalled(store, 0.3)) > 0.3


def test_time_in_which_no_worker_checked_is_not_silence(store: Store, redis_client: redis.Redis) -> None:
    """A worker that starts after a pause reports no stall at once."""
    key, now = store.keys.suite(CASE), store.time()
    redis_client.hset(key, mapping={"expected_since": now - 500, "received_at": now - 130, "checked_at": now - 100})
    assert stalled(store, 60) is None, "30 s of silence, and a pause of 100 s"
    assert status(store, 60) is State.INIT
    assert float(redis_client.hget(key, "expected_since")) == pytest.approx(now - 30, abs=5)
    assert stalled(store, 20) == pytest.approx(30, abs=5), "the next checks measure as usual"


def test_status_is_not_stall_because_of_a_pause_as_soon_as_a_worker_starts(
    store: Store, redis_client: redis.Redis
) -> None:
    key, now = store.keys.suite(CASE), store.time()
    redis_client.hset(key, mapping={"expected_since": now - 500, "received_at": now - 130, "checked_at": now - 100})
    assert status(store, 60) is State.STALL, "no worker runs"
    store.suites.expect_tests({CASE: 60.0})
    assert (status(store, 60), status(store, 20)) == (State.INIT, State.STALL), "30 s of silence before the pause"
    assert stalled(store, 20) == pytest.approx(30, abs=5), "the start of a worker reports no stall itself"


def test_worker_that_restarts_again_and_again_does_not_hide_a_stall(store: Store, redis_client: redis.Redis) -> None:
    key, now = store.keys.suite(CASE), store.time()
    redis_client.hset(key, mapping={"expected_since": now - 200, "checked_at": now - 100})
    assert stalled(store, 60) == pytest.approx(100, abs=5), "100 s of silence before the pause"


def test_received_test_postpones_the_stall(store: Store) -> None:
    stalled(store, 0.3)
    wait_until(lambda: stalled(store, 0.3))
    received = receive_test(store)
    assert stalled(store, 5) is None
    silent = wait_until(lambda: stalled(store, 0.3))
    assert silent <= store.time() - received


def test_stall_of_a_reactivated_case_is_measured_from_its_activation(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.suite(CASE), mapping={"received_at": 1, "last_test_received": 1})
    assert stalled(store, None) is None
    assert stalled(store, 0.3) is None
    assert status(store, 0.3) is State.INIT
    assert 0.3 < wait_until(lambda: stalled(store, 0.3)) < 60


@pytest.mark.promise("Every reader of a status sees a stall, even if beat and all workers are dead.", theme="schedules")
def test_status_is_stall_before_and_after_the_stall_is_reported(store: Store) -> None:
    store.suites.expect_tests({CASE: 0.2})
    assert status(store, 0.2) is State.INIT
    wait_until(lambda: status(store, 0.2) is State.STALL)
    assert (status(store, 60.0), status(store, None)) == (State.INIT, State.INIT)
    assert wait_until(lambda: stalled(store, 0.2))
    assert status(store, 0.2) is State.STALL, "the report of a stall is not a test"
    receive_test(store)
    assert status(store, 60.0) is State.INIT


# -- statistics, health


def test_statistics_of_an_unknown_case_are_empty(store: Store) -> None:
    assert store.suites.statistics("nobody").status is State.INIT


def test_unreadable_statistics_are_skipped_an_unreadable_status_is_error_and_no_other_case_is_affected(
    store: Store, redis_client: redis.Redis
) -> None:
    redis_client.hset(store.keys.suite(CASE), mapping={"status": "FINE", "last_fail": "nan", "total:PASS": 7})
    redis_client.rpush(store.keys.runtime(CASE), "1", "x", "inf", "3")
    found = store.suites.statistics(CASE)
    assert (found.status, found.last_fail, found.total_by_state) == (State.ERROR, None, {State.PASS: 7})
    assert found.runtime_history == [1.0, 3.0]
    suite = store.keys.suite(CASE)
    assert list(store.unreadable.places) == [
        f"{suite}, field status",
        f"{suite}, field last_fail",
        store.keys.runtime(CASE),
    ]
    assert store.suites.statistics("shop.test_other").status is State.INIT


def test_health_has_how_long_the_sweep_is_overdue(store: Store, redis_client: redis.Redis) -> None:
    store.executions.record(make_test(), expires_in=60)
    assert store.suites.health({CASE: None, "another": None}) == (
        {CASE: State.INIT, "another": State.INIT},
        0.0,
        frozenset(),
    )
    redis_client.zadd(store.keys.open(CASE), {"id-1": store.time() - 500})
    assert store.suites.health({"another": None, CASE: None}).overdue == pytest.approx(500, abs=1)


def test_recovery_of_a_service_does_not_hide_failing_tests(store: Store) -> None:
    store.client.hset(store.keys.suite(CASE), mapping={"status": "FAIL", "consecutive_failures": 2})
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.FAIL
    store.client.hset(store.keys.suite(CASE), "consecutive_failures", 0)
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.PASS


def test_health_of_an_unreadable_case_is_an_error_of_it_alone(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.hset(store.keys.suite("broken"), mapping={"status": "nonsense", "expected_since": "x"})
    health = store.suites.health({"broken": 60.0, CASE: 60.0})
    assert health.statuses == {"broken": State.ERROR, CASE: State.INIT}
    assert "skipped Redis key livecheck:{broken}:suite, field status" in caplog.text
