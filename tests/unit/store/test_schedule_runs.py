"""Runs of schedules, one caller at a time: claimed once in each period, and again when their lease lapsed."""

import redis

from livecheck_celery.store import Store
from livecheck_celery.store.schedule_runs import Window
from tests.helpers.factories import CASE
from tests.helpers.waiting import wait_until

HALF = Window(0.6, 0.3)


def claim_run(store: Store, window: Window = HALF, token: str = "", lease: float = 30.0) -> int:
    """Claim a run; without a token, finish it at once."""
    attempt = store.schedule_runs.claim(CASE, window, token=token or "now", lease=lease)
    if attempt and not token:
        assert store.schedule_runs.finish(CASE, "now")
    return attempt


def test_one_run_is_claimed_in_each_period(store: Store) -> None:
    start = store.time()
    assert claim_run(store)
    assert not claim_run(store)
    wait_until(lambda: claim_run(store))
    assert store.time() - start >= 0.3
    assert not claim_run(store)


def test_shorter_period_does_not_wait_for_the_longer_one_before_it(store: Store) -> None:
    assert claim_run(store, Window(3600, 1800))
    assert claim_run(store, Window(5, 2.5))
    assert not claim_run(store, Window(5, 2.5))


def test_one_run_follows_a_long_silence(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.suite(CASE), "tat", store.time() - 1000)
    assert claim_run(store, Window(10, 5))
    assert not claim_run(store, Window(10, 5))


def test_run_that_takes_longer_than_its_period_is_not_claimed_twice(store: Store) -> None:
    assert claim_run(store, Window(0.1, 0.05), "long", lease=9) == 1
    start = store.time()
    while store.time() < start + 0.5:
        assert store.schedule_runs.renew(CASE, "long", lease=9)
        assert claim_run(store, Window(0.1, 0.05)) == 0
    assert store.schedule_runs.finish(CASE, "long")
    assert claim_run(store, Window(0.1, 0.05)) == 1


def test_lapsed_run_is_claimed_again(store: Store) -> None:
    window = Window(60, 30)
    assert claim_run(store, window, "dead", lease=0.2) == 1
    assert store.schedule_runs.lapsed([CASE, "another"], lease=0.2) == []
    assert wait_until(lambda: store.schedule_runs.lapsed([CASE, "another"], lease=0.2)) == [CASE]
    assert store.schedule_runs.lapsed([CASE], lease=0.2) == [], "reported once per lease"
    assert claim_run(store, window, "second") == 2
    assert not store.schedule_runs.finish(CASE, "dead")
    assert not store.schedule_runs.renew(CASE, "dead", lease=9)
    assert claim_run(store, window) == 0
    assert store.schedule_runs.finish(CASE, "second")
    assert claim_run(store, window) == 0, "it is finished"
    assert store.schedule_runs.lapsed([CASE], lease=0.2) == []


def test_lapsed_run_is_resent_after_each_lease(store: Store) -> None:
    claim_run(store, Window(60, 30), "dead", lease=0.05)
    wait_until(lambda: store.schedule_runs.lapsed([CASE], lease=0.2))
    start = store.time()
    wait_until(lambda: store.schedule_runs.lapsed([CASE], lease=0.2))
    assert store.time() - start >= 0.15


def test_run_is_abandoned_after_three_attempts(store: Store) -> None:
    window = Window(60, 30)
    for attempt in (1, 2, 3):
        assert wait_until(lambda attempt=attempt: claim_run(store, window, f"t{attempt}", lease=0.05)) == attempt
    start = store.time()
    while store.time() < start + 0.2:
        assert claim_run(store, window, "more", lease=0.05) == 0
        assert store.schedule_runs.lapsed([CASE], lease=0.05) == []


def test_lapsed_run_is_not_claimed_after_its_time(store: Store) -> None:
    window = Window(0.4, 0.2)
    assert claim_run(store, window, "dead", lease=0.3) == 1
    start = store.time()
    while store.time() < start + 0.6:
        assert store.schedule_runs.lapsed([CASE], lease=0.3) == []
    assert claim_run(store, window, "next") == 1, "the next run, not a second attempt"


def test_repeated_claim_of_a_run_is_the_same_attempt(store: Store) -> None:
    assert claim_run(store, HALF, "same") == claim_run(store, HALF, "same") == 1


def test_runs_continue_after_the_clock_was_set_back(store: Store, redis_client: redis.Redis) -> None:
    assert claim_run(store, HALF, "before")
    redis_client.hset(store.keys.suite(CASE), mapping={"run_until": store.time() + 7200, "tat": store.time() + 7200})
    assert claim_run(store) == 1
