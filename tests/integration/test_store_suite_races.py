"""The suite with many callers at once: one is told, and two beats make one run."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import redis
from executions import claim, judge
from support import CASE, at_once, make_report, make_settings, make_test, wait_until

from livecheck_celery.config import Settings
from livecheck_celery.models import State
from livecheck_celery.store import Store

MANY = 30


@pytest.fixture
def stores(settings: Settings) -> Iterator[list[Store]]:
    stores = [Store(settings) for _ in range(MANY)]
    for store in stores:
        store.time()
    yield stores
    for store in stores:
        store.client.close()


def fail(store: Store) -> bool:
    return store.suite_fail(CASE, state=State.STALL, report=make_report(State.STALL), state_transition_delay=60)


def test_of_many_failures_of_the_suite_one_is_reported(stores: list[Store]) -> None:
    assert sum(at_once(MANY, lambda number: fail(stores[number]))) == 1
    assert len(stores[0].reports([CASE], count=100)) == 1
    assert stores[0].statistics(CASE).status is State.STALL


def test_many_recoveries_are_one(stores: list[Store]) -> None:
    fail(stores[0])
    at_once(MANY, lambda number: stores[number].recovered(CASE, state_transition_delay=60))
    assert stores[0].statistics(CASE).status is State.STALL
    at_once(MANY, lambda number: stores[number].recovered(CASE, state_transition_delay=0))
    assert stores[0].statistics(CASE).status is State.PASS


def test_of_many_who_look_one_warns_of_a_stall(stores: list[Store]) -> None:
    assert set(at_once(MANY, lambda number: stores[number].stalled(CASE, warn_stalled_after=0.5))) == {None}
    started = stores[0].time()
    wait_until(lambda: stores[0].time() > started + 0.5)
    found = at_once(MANY, lambda number: stores[number].stalled(CASE, warn_stalled_after=0.5))
    assert sum(seconds is not None for seconds in found) == 1


def test_of_many_beats_one_gets_the_slot(stores: list[Store]) -> None:
    assert sum(at_once(MANY, lambda number: stores[number].claim_slot(CASE, period=60))) == 1


def test_two_beats_out_of_step_make_one_run_a_period(stores: list[Store]) -> None:
    period, runs = 0.2, []
    start = stores[0].time()
    step = threading.Event()

    def beat(number: int) -> None:
        step.wait(number * period / 2)
        while (now := stores[number].time()) < start + 8 * period:
            if stores[number].claim_slot(CASE, period=period):
                runs.append(now)
            step.wait(period / 10)

    at_once(2, beat)
    took = max(runs) - start
    assert 5 <= len(runs) <= took / period + 1.5


def test_reports_posted_by_many_stay_within_the_cap(redis_url: str) -> None:
    store = Store(make_settings(redis_url, max_reports=20))
    at_once(MANY, lambda number: store.post_report(make_report(State.ERROR, error=str(number))))
    assert store.client.xlen(store.keys.reports(CASE)) == 20
    store.client.close()


def test_reports_posted_by_many_are_all_followed_in_order(stores: list[Store]) -> None:
    positions: dict[str, str] = {}
    names = ["a", "b", "c"]
    assert stores[-1].follow(names, positions, block=0) == []
    posted = at_once(MANY, lambda n: stores[n].post_report(make_report(case_name=names[n % 3], error=str(n))))
    followed = stores[-1].follow(names, positions, block=0)
    assert Counter(report.error for report in followed) == Counter(report.error for report in posted)
    assert [report.at for report in followed] == sorted(report.at or 0 for report in posted)
    assert [report.error for report in stores[0].reports(names, count=5)] == [one.error for one in followed[-5:]]


def test_following_wakes_when_a_report_comes(store: Store, settings: Settings) -> None:
    watcher = Store(settings, timeout=20)
    positions: dict[str, str] = {}
    watcher.follow([CASE], positions, block=0)

    def act(number: int) -> list[str | None]:
        if number:
            store.post_report(make_report(error="woken"))
            return []
        return [report.error for report in watcher.follow([CASE], positions, block=10)]

    before = store.time()
    assert at_once(2, act)[0] == ["woken"]
    assert store.time() - before < 5
    watcher.client.close()


def test_a_wait_longer_than_the_timeout_is_no_error(settings: Settings) -> None:
    store = Store(settings, timeout=0.2)
    assert store.follow([CASE], {}, block=60) == []
    store.client.close()


def test_beats_seen_by_many_are_one_key_that_expires(stores: list[Store], redis_client: redis.Redis) -> None:
    at_once(MANY, lambda number: stores[number].beat_seen())
    seconds = stores[0].seconds_since_beat()
    assert seconds is not None
    assert 0 <= seconds < 5
    assert 0 < redis_client.ttl(stores[0].keys.beat) <= 120


def test_the_state_of_a_case_is_bounded_whatever_happens_to_it(store: Store, redis_client: redis.Redis) -> None:
    for number, state in enumerate([*State, *State]):
        test = make_test(str(number))
        claim(store, test)
        judge(store, test, state, state_transition_delay=0)
        fail(store)
        store.stalled(CASE, warn_stalled_after=0)
        store.claim_slot(CASE, period=0.001)
    fields = redis_client.hkeys(store.keys.state(CASE))
    assert len(fields) == 8 + len(State)
