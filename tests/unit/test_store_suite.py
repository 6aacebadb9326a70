"""The suite, one caller at a time."""

import logging

import pytest
import redis
from executions import claim, judge
from support import CASE, make_report, make_test, wait_until

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.models import State
from livecheck_celery.store import Store


def fail(store: Store, state: State = State.FAIL, delay: float = 60.0) -> bool:
    return store.suite_fail(CASE, state=state, report=make_report(state, error="why"), state_transition_delay=delay)


def receive_test(store: Store, test_id: str = "id-1") -> float:
    return claim(store, make_test(test_id)).now


# -- cases


def test_cases_and_their_settings_are_known_without_their_code(store: Store) -> None:
    store.register("b", {"probability": 0.5, "frequency": None})
    store.register("a", {"probability": 1.0})
    store.register("a", {"probability": 0.1})
    assert list(store.cases().items()) == [("a", {"probability": 0.1}), ("b", {"probability": 0.5, "frequency": None})]


def test_settings_that_are_not_json_are_refused_by_name(store: Store) -> None:
    with pytest.raises(InvalidPayload, match="a: the settings are not JSON"):
        store.register("a", {"base": object()})


@pytest.mark.parametrize("text", ["{not json", "3", '["ab"]x'])
def test_a_case_that_cannot_be_read_is_left_out_and_logged(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store.register("good", {})
    redis_client.hset(store.keys.cases, "bad", text)
    with caplog.at_level(logging.WARNING):
        assert store.cases() == {"good": {}}
    assert "livecheck:{cases}:settings, field bad" in caplog.text


# -- suite_fail, recovered


def test_the_first_failure_is_reported_and_the_next_within_the_delay_is_not(store: Store) -> None:
    assert fail(store, State.FAIL)
    first = store.statistics(CASE)
    assert not fail(store, State.STALL)
    second = store.statistics(CASE)
    assert (first.status, second.status) == (State.FAIL, State.STALL)
    assert first.last_fail is not None
    assert second.last_fail is not None
    assert second.last_fail > first.last_fail
    assert second.seconds_since_last_fail is not None
    assert 0 <= second.seconds_since_last_fail < 1
    assert [report.state for report in store.reports([CASE], count=9)] == [State.FAIL]
    assert store.reports([CASE], count=9)[0].at == pytest.approx(first.last_fail)


def test_a_failure_is_reported_again_after_the_delay(store: Store) -> None:
    assert fail(store, delay=0.02)
    wait_until(lambda: (store.statistics(CASE).seconds_since_last_fail or 0) > 0.02)
    assert fail(store, delay=0.02)


def test_a_failure_of_a_suite_that_is_fine_is_reported_whatever_the_delay(store: Store) -> None:
    assert fail(store)
    store.recovered(CASE, state_transition_delay=0)
    assert store.statistics(CASE).status is State.PASS
    assert fail(store)


def test_a_suite_whose_tests_failed_but_that_never_failed_itself_is_reported(store: Store) -> None:
    receive_test(store)
    judge(store, make_test(), State.ERROR)
    assert fail(store)


def test_recovery_waits_for_the_delay(store: Store) -> None:
    fail(store)
    store.recovered(CASE, state_transition_delay=60)
    assert store.statistics(CASE).status is State.FAIL
    store.recovered(CASE, state_transition_delay=0)
    assert store.statistics(CASE).status is State.PASS


def test_a_suite_that_is_fine_has_nothing_to_recover_from(store: Store) -> None:
    store.recovered(CASE, state_transition_delay=0)
    assert store.statistics(CASE).status is State.INIT


# -- stalled


def test_a_suite_is_stalled_once_in_each_period_without_a_test(store: Store) -> None:
    received = receive_test(store)
    assert store.stalled(CASE, warn_stalled_after=0.3) is None
    first = wait_until(lambda: store.stalled(CASE, warn_stalled_after=0.3))
    assert 0.3 < first <= store.time() - received
    assert store.stalled(CASE, warn_stalled_after=0.3) is None
    second = wait_until(lambda: store.stalled(CASE, warn_stalled_after=0.3))
    assert second > first + 0.3


def test_a_case_that_never_saw_a_test_is_measured_from_the_first_look(store: Store) -> None:
    assert store.stalled(CASE, warn_stalled_after=0.3) is None
    assert wait_until(lambda: store.stalled(CASE, warn_stalled_after=0.3)) > 0.3


def test_a_test_puts_the_warning_off(store: Store) -> None:
    store.stalled(CASE, warn_stalled_after=0.3)
    wait_until(lambda: store.stalled(CASE, warn_stalled_after=0.3))
    received = receive_test(store)
    assert store.stalled(CASE, warn_stalled_after=5) is None
    silent = wait_until(lambda: store.stalled(CASE, warn_stalled_after=0.3))
    assert silent <= store.time() - received


# -- claim_slot


def test_one_run_in_each_period(store: Store) -> None:
    start = store.time()
    assert store.claim_slot(CASE, period=0.6)
    assert not store.claim_slot(CASE, period=0.6)
    wait_until(lambda: store.claim_slot(CASE, period=0.6))
    assert store.time() - start >= 0.3
    assert not store.claim_slot(CASE, period=0.6)


def test_a_shorter_period_need_not_wait_for_the_longer_one_before_it(store: Store) -> None:
    assert store.claim_slot(CASE, period=3600)
    assert store.claim_slot(CASE, period=5)
    assert not store.claim_slot(CASE, period=5)


def test_after_a_long_silence_there_is_one_run_not_a_burst(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.state(CASE), "tat", store.time() - 1000)
    assert store.claim_slot(CASE, period=10)
    assert not store.claim_slot(CASE, period=10)


# -- statistics, beat


def test_a_case_nobody_heard_of_has_empty_statistics(store: Store) -> None:
    assert store.statistics("nobody").status is State.INIT


def test_statistics_that_cannot_be_read_name_the_key_and_no_other_case_suffers(
    store: Store, redis_client: redis.Redis
) -> None:
    redis_client.hset(store.keys.state(CASE), "status", "FINE")
    with pytest.raises(InvalidPayload, match=r"livecheck:\{shop.test_order\}:state"):
        store.statistics(CASE)
    assert store.statistics("shop.test_other").status is State.INIT


def test_beat_is_seen_and_forgotten(store: Store, redis_client: redis.Redis) -> None:
    assert store.seconds_since_beat() is None
    store.beat_seen()
    assert 118 <= redis_client.ttl(store.keys.beat) <= 120
    redis_client.set(store.keys.beat, store.time() - 7, ex=120)
    assert store.seconds_since_beat() == pytest.approx(7, abs=1)


def test_a_service_that_answers_does_not_hide_tests_that_fail(store: Store) -> None:
    store.client.hset(store.keys.state(CASE), mapping={"status": "FAIL", "consecutive_failures": 2})
    store.recovered(CASE, state_transition_delay=0)
    assert store.statistics(CASE).status is State.FAIL
    store.client.hset(store.keys.state(CASE), "consecutive_failures", 0)
    store.recovered(CASE, state_transition_delay=0)
    assert store.statistics(CASE).status is State.PASS
