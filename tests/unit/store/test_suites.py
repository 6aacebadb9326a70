"""The suite, one caller at a time."""

import logging

import pytest
import redis

from livecheck_celery.errors import InvalidPayload, RedisUnavailable
from livecheck_celery.models import State
from livecheck_celery.store import Store
from livecheck_celery.store.schedule_runs import Window
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_test
from tests.helpers.waiting import wait_until


def fail(store: Store, state: State = State.FAIL, delay: float = 60.0) -> bool:
    return store.suites.fail(CASE, state=state, report=make_report(state, error="why"), state_transition_delay=delay)


def receive_test(store: Store, test_id: str = "id-1") -> float:
    return claim(store, make_test(test_id)).now


# -- cases


def test_cases_and_their_settings_are_known_without_their_code(store: Store) -> None:
    store.registry.register("b", {"probability": 0.5, "frequency": None})
    store.registry.register("a", {"probability": 1.0})
    store.registry.register("a", {"probability": 0.1})
    assert list(store.registry.cases().items()) == [
        ("a", {"probability": 0.1}),
        ("b", {"probability": 0.5, "frequency": None}),
    ]


def test_settings_that_are_not_json_are_refused_by_name(store: Store) -> None:
    with pytest.raises(InvalidPayload, match="a: the settings are not JSON"):
        store.registry.register("a", {"base": object()})


@pytest.mark.parametrize("text", ["{not json", "3", '["ab"]x'])
def test_a_case_that_cannot_be_read_is_left_out_and_logged(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store.registry.register("good", {})
    redis_client.hset(store.keys.cases, "bad", text)
    with caplog.at_level(logging.WARNING):
        assert store.registry.cases() == {"good": {}}
    assert "livecheck:{cases}:settings, field bad" in caplog.text


# -- suite_fail, recovered


def test_the_first_failure_is_reported_and_the_next_within_the_delay_is_not(store: Store) -> None:
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


def test_a_failure_is_reported_again_after_the_delay(store: Store) -> None:
    assert fail(store, delay=0.02)
    wait_until(lambda: (store.suites.statistics(CASE).seconds_since_last_fail or 0) > 0.02)
    assert fail(store, delay=0.02)


def test_a_failure_of_a_suite_that_is_fine_is_reported_whatever_the_delay(store: Store) -> None:
    assert fail(store)
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.PASS
    assert fail(store)


def test_a_suite_whose_tests_failed_but_that_never_failed_itself_is_reported(store: Store) -> None:
    receive_test(store)
    judge(store, make_test(), State.ERROR)
    assert fail(store)


def test_recovery_waits_for_the_delay(store: Store) -> None:
    fail(store)
    store.suites.service_recovered(CASE, state_transition_delay=60)
    assert store.suites.statistics(CASE).status is State.FAIL
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.PASS


def test_a_suite_that_is_fine_has_nothing_to_recover_from(store: Store) -> None:
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.INIT


# -- stalled


def stalled(store: Store, after: float | None) -> float | None:
    return store.suites.stalled({CASE: after}).get(CASE)


def status(store: Store, after: float | None) -> State:
    [status] = {
        store.suites.statistics(CASE, stalled_after=after).status,
        *store.suites.health({CASE: after}).statuses.values(),
    }
    return status


def test_a_suite_is_stalled_once_in_each_period_without_a_test(store: Store) -> None:
    received = receive_test(store)
    assert stalled(store, 0.3) is None
    first = wait_until(lambda: stalled(store, 0.3))
    assert 0.3 < first <= store.time() - received
    assert stalled(store, 0.3) is None
    second = wait_until(lambda: stalled(store, 0.3))
    assert second > first + 0.3


def test_each_of_many_cases_has_its_own_time(store: Store) -> None:
    assert store.suites.stalled({"a": 0.2, "b": 60.0, "c": 0.2, "off": None}) == {}
    found: set[str] = set()
    wait_until(
        lambda: found.update(store.suites.stalled({"a": 0.2, "b": 60.0, "c": 0.2, "off": None})) or len(found) == 2
    )
    assert found == {"a", "c"}


def test_one_case_that_cannot_be_checked_leaves_the_others_their_warning(
    store: Store, redis_client: redis.Redis
) -> None:
    redis_client.set(store.keys.state("broken"), "x")
    with pytest.raises(RedisUnavailable):
        store.suites.stalled({"broken": 0.1, CASE: 60.0})
    redis_client.hset(store.keys.state(CASE), "expected_since", 1)
    assert list(store.suites.stalled({"broken": 0.1, CASE: 60.0})) == [CASE]
    redis_client.delete(store.keys.state("broken"))


def test_a_case_that_never_saw_a_test_is_measured_from_when_it_is_watched(
    store: Store, redis_client: redis.Redis
) -> None:
    store.suites.expect_tests([CASE, "another"])
    watched = redis_client.hget(store.keys.state(CASE), "expected_since")
    store.suites.expect_tests([CASE])
    assert stalled(store, 0.3) is None
    assert redis_client.hget(store.keys.state(CASE), "expected_since") == watched
    assert wait_until(lambda: stalled(store, 0.3)) > 0.3


def test_a_test_puts_the_warning_off(store: Store) -> None:
    stalled(store, 0.3)
    wait_until(lambda: stalled(store, 0.3))
    received = receive_test(store)
    assert stalled(store, 5) is None
    silent = wait_until(lambda: stalled(store, 0.3))
    assert silent <= store.time() - received


def test_a_case_has_its_time_anew_when_it_is_active_again(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.state(CASE), mapping={"received_at": 1, "last_test_received": 1})
    assert stalled(store, None) is None
    assert stalled(store, 0.3) is None
    assert status(store, 0.3) is State.INIT
    assert 0.3 < wait_until(lambda: stalled(store, 0.3)) < 60


@pytest.mark.promise("Every reader of a status sees a stall, with beat and all workers dead.", theme="schedules")
def test_whoever_reads_the_status_sees_a_stall_before_and_after_the_warning(store: Store) -> None:
    store.suites.expect_tests([CASE])
    assert status(store, 0.2) is State.INIT
    wait_until(lambda: status(store, 0.2) is State.STALL)
    assert (status(store, 60.0), status(store, None)) == (State.INIT, State.INIT)
    assert wait_until(lambda: stalled(store, 0.2))
    assert status(store, 0.2) is State.STALL, "the warning is no test"
    receive_test(store)
    assert status(store, 60.0) is State.INIT


# -- slots

HALF = Window(0.6, 0.3)


def claim_slot(store: Store, slot: Window = HALF, token: str = "", lease: float = 30.0) -> int:
    """Claim a run; without a token it is made at once."""
    attempt = store.schedule_runs.claim(CASE, slot, token=token or "now", lease=lease)
    if attempt and not token:
        assert store.schedule_runs.finish(CASE, "now")
    return attempt


def test_one_run_in_each_period(store: Store) -> None:
    start = store.time()
    assert claim_slot(store)
    assert not claim_slot(store)
    wait_until(lambda: claim_slot(store))
    assert store.time() - start >= 0.3
    assert not claim_slot(store)


def test_a_shorter_period_need_not_wait_for_the_longer_one_before_it(store: Store) -> None:
    assert claim_slot(store, Window(3600, 1800))
    assert claim_slot(store, Window(5, 2.5))
    assert not claim_slot(store, Window(5, 2.5))


def test_after_a_long_silence_there_is_one_run_not_a_burst(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.state(CASE), "tat", store.time() - 1000)
    assert claim_slot(store, Window(10, 5))
    assert not claim_slot(store, Window(10, 5))


def test_a_run_that_takes_long_is_never_two(store: Store) -> None:
    assert claim_slot(store, Window(0.1, 0.05), "long", lease=9) == 1
    start = store.time()
    while store.time() < start + 0.5:
        assert store.schedule_runs.renew(CASE, "long", lease=9)
        assert claim_slot(store, Window(0.1, 0.05)) == 0
    assert store.schedule_runs.finish(CASE, "long")
    assert claim_slot(store, Window(0.1, 0.05)) == 1


def test_a_run_whose_maker_fell_silent_is_made_again(store: Store) -> None:
    slot = Window(60, 30)
    assert claim_slot(store, slot, "dead", lease=0.2) == 1
    assert store.schedule_runs.lapsed([CASE, "another"], lease=0.2) == []
    assert wait_until(lambda: store.schedule_runs.lapsed([CASE, "another"], lease=0.2)) == [CASE]
    assert store.schedule_runs.lapsed([CASE], lease=0.2) == [], "one is told"
    assert claim_slot(store, slot, "second") == 2
    assert not store.schedule_runs.finish(CASE, "dead")
    assert not store.schedule_runs.renew(CASE, "dead", lease=9)
    assert claim_slot(store, slot) == 0
    assert store.schedule_runs.finish(CASE, "second")
    assert claim_slot(store, slot) == 0, "it was made"
    assert store.schedule_runs.lapsed([CASE], lease=0.2) == []


def test_a_run_nobody_takes_up_again_is_asked_for_after_each_lease(store: Store) -> None:
    claim_slot(store, Window(60, 30), "dead", lease=0.05)
    wait_until(lambda: store.schedule_runs.lapsed([CASE], lease=0.2))
    start = store.time()
    wait_until(lambda: store.schedule_runs.lapsed([CASE], lease=0.2))
    assert store.time() - start >= 0.15


def test_a_run_that_kills_every_worker_is_given_up_until_the_next(store: Store) -> None:
    slot = Window(60, 30)
    for attempt in (1, 2, 3):
        assert wait_until(lambda attempt=attempt: claim_slot(store, slot, f"t{attempt}", lease=0.05)) == attempt
    start = store.time()
    while store.time() < start + 0.2:
        assert claim_slot(store, slot, "more", lease=0.05) == 0
        assert store.schedule_runs.lapsed([CASE], lease=0.05) == []


def test_a_run_whose_time_is_over_is_not_made_again(store: Store) -> None:
    slot = Window(0.4, 0.2)
    assert claim_slot(store, slot, "dead", lease=0.3) == 1
    start = store.time()
    while store.time() < start + 0.6:
        assert store.schedule_runs.lapsed([CASE], lease=0.3) == []
    assert claim_slot(store, slot, "next") == 1, "the next run, not a second attempt"


def test_a_claim_that_is_asked_for_again_is_the_same(store: Store) -> None:
    assert claim_slot(store, HALF, "same") == claim_slot(store, HALF, "same") == 1


def test_a_clock_that_was_set_back_does_not_block_the_runs(store: Store, redis_client: redis.Redis) -> None:
    assert claim_slot(store, HALF, "before")
    redis_client.hset(store.keys.state(CASE), mapping={"run_until": store.time() + 7200, "tat": store.time() + 7200})
    assert claim_slot(store) == 1


# -- statistics, beat


def test_a_case_nobody_heard_of_has_empty_statistics(store: Store) -> None:
    assert store.suites.statistics("nobody").status is State.INIT


def test_statistics_that_cannot_be_read_name_the_key_and_no_other_case_suffers(
    store: Store, redis_client: redis.Redis
) -> None:
    redis_client.hset(store.keys.state(CASE), "status", "FINE")
    with pytest.raises(InvalidPayload, match=r"livecheck:\{shop.test_order\}:state"):
        store.suites.statistics(CASE)
    assert store.suites.statistics("shop.test_other").status is State.INIT


def test_signs_of_life_are_seen_and_forgotten(store: Store, redis_client: redis.Redis) -> None:
    assert store.liveness.read() == (None, None)
    store.liveness.beat_seen()
    assert 118 <= redis_client.ttl(store.keys.beat) <= 120
    redis_client.set(store.keys.beat, store.time() - 7, ex=120)
    assert store.liveness.read() == (pytest.approx(7, abs=1), None)
    store.liveness.schedules_seen()
    assert 118 <= redis_client.ttl(store.keys.schedules) <= 120
    assert store.liveness.read().schedules == pytest.approx(0, abs=1)


def test_how_long_the_sweep_has_been_missing_is_told(store: Store, redis_client: redis.Redis) -> None:
    store.executions.record(make_test(), expires_in=60)
    assert store.suites.health({CASE: None, "another": None}) == ({CASE: State.INIT, "another": State.INIT}, 0.0)
    redis_client.zadd(store.keys.open(CASE), {"id-1": store.time() - 500})
    assert store.suites.health({"another": None, CASE: None}).overdue == pytest.approx(500, abs=1)


def test_one_heartbeat_in_each_period(store: Store) -> None:
    assert store.liveness.claim_heartbeat(0.3)
    start = store.time()
    assert not store.liveness.claim_heartbeat(0.3)
    wait_until(lambda: store.liveness.claim_heartbeat(0.3))
    assert store.time() - start >= 0.25


def test_a_service_that_answers_does_not_hide_tests_that_fail(store: Store) -> None:
    store.client.hset(store.keys.state(CASE), mapping={"status": "FAIL", "consecutive_failures": 2})
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.FAIL
    store.client.hset(store.keys.state(CASE), "consecutive_failures", 0)
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.PASS
