"""Suites, schedule runs and reports with many concurrent callers."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
import redis

from livecheck_celery.config import Settings
from livecheck_celery.models import State
from livecheck_celery.store import Store
from livecheck_celery.store.schedule_runs import Window
from tests.helpers.connected_stores import connected_stores
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_settings, make_test
from tests.helpers.waiting import at_once, wait_until

MANY = 30


@pytest.fixture
def stores(settings: Settings) -> Iterator[list[Store]]:
    with connected_stores(settings, MANY) as stores:
        yield stores


def fail(store: Store) -> bool:
    token = uuid.uuid4().hex
    return store.suites.fail(
        CASE, state=State.STALL, report=make_report(State.STALL), state_transition_delay=60, token=token
    )


@pytest.mark.promise("A failure of a suite is reported once, however many workers see it.", theme="verdicts")
def test_one_of_many_suite_failures_is_reported(stores: list[Store]) -> None:
    assert sum(at_once(MANY, lambda number: fail(stores[number]))) == 1
    assert len(stores[0].reports.latest([CASE], count=100)) == 1
    assert stores[0].suites.statistics(CASE).status is State.STALL


def test_concurrent_recoveries_keep_to_the_delay(stores: list[Store]) -> None:
    fail(stores[0])
    at_once(MANY, lambda number: stores[number].suites.service_recovered(CASE, state_transition_delay=60))
    assert stores[0].suites.statistics(CASE).status is State.STALL
    at_once(MANY, lambda number: stores[number].suites.service_recovered(CASE, state_transition_delay=0))
    assert stores[0].suites.statistics(CASE).status is State.PASS


def test_one_of_many_callers_reports_a_stall(stores: list[Store]) -> None:
    cases = {CASE: 0.5, "another": 0.5, "calm": 60.0}
    assert at_once(MANY, lambda number: stores[number].suites.stalled(cases)) == [{}] * MANY
    started = stores[0].time()
    wait_until(lambda: stores[0].time() > started + 0.5)
    found = at_once(MANY, lambda number: stores[number].suites.stalled(cases))
    assert Counter(name for one in found for name in one) == {CASE: 1, "another": 1}


def claim_run(store: Store, period: float, token: str, lease: float = 30.0) -> int:
    return store.schedule_runs.claim(CASE, Window(period, period / 2), token=token, lease=lease)


@pytest.mark.promise("If several beats request one run at the same time, the run is claimed once.", theme="schedules")
def test_one_of_many_beats_claims_the_run(stores: list[Store]) -> None:
    assert sum(at_once(MANY, lambda number: claim_run(stores[number], 60, str(number)))) == 1


def test_one_of_many_callers_claims_a_lapsed_run(stores: list[Store]) -> None:
    assert claim_run(stores[0], 60, "dead", lease=0.05)
    started = stores[0].time()
    wait_until(lambda: stores[0].time() > started + 0.05)
    assert sum(map(len, at_once(MANY, lambda number: stores[number].schedule_runs.lapsed([CASE], lease=30)))) == 1
    assert sorted(at_once(MANY, lambda number: claim_run(stores[number], 60, str(number)))) == [0] * (MANY - 1) + [2]


def test_two_beats_out_of_step_make_one_run_in_each_period(stores: list[Store]) -> None:
    period, runs = 0.2, []
    start = stores[0].time()
    step = threading.Event()

    def beat(number: int) -> None:
        step.wait(number * period / 2)
        while (now := stores[number].time()) < start + 8 * period:
            token = f"{number} at {now}"
            if claim_run(stores[number], period, token):
                runs.append(now)
                assert stores[number].schedule_runs.finish(CASE, token)
            step.wait(period / 10)

    at_once(2, beat)
    took = max(runs) - start
    assert 5 <= len(runs) <= took / period + 1.5


def test_runs_never_overlap_and_continue_while_workers_die(stores: list[Store]) -> None:
    """Workers race for the runs of a schedule, and abandon a third of them."""
    period, lease, workers = 0.6, 0.1, 6
    end = stores[0].time() + 6 * period
    made: list[tuple[str, float, float]] = []
    died: list[float] = []
    pause = threading.Event()

    def work(number: int) -> None:
        store, chance, turn = stores[number], random.Random(number), 0
        while store.time() < end:
            turn += 1
            token = f"{number}-{turn}"
            if claim_run(store, period, token, lease):
                started = store.time()
                if chance.random() < 1 / 3:
                    died.append(started)
                    continue
                over = started + chance.choice([0.01, 2 * lease])
                while (now := store.time()) < over and store.schedule_runs.renew(CASE, token, lease=lease):
                    pause.wait(lease / 5)
                if store.schedule_runs.finish(CASE, token):  # a thread can be delayed by a lease, like a worker
                    made.append((token, started, now))
            pause.wait(0.005)

    at_once(workers, work)
    made.sort(key=lambda run: run[1])
    assert died, "no worker died"
    assert all(earlier[2] <= later[1] for earlier, later in pairwise(made)), "two runs at the same time"
    assert 3 <= len(made) <= 8, "one run in each period"


def test_concurrent_reports_stay_within_the_cap(redis_url: str) -> None:
    store = Store(make_settings(redis_url, max_reports=20))
    at_once(MANY, lambda number: store.reports.post(make_report(State.ERROR, error=str(number))))
    assert store.client.xlen(store.keys.reports(CASE)) == 20
    store.client.close()


def test_concurrent_reports_are_all_followed_in_order(stores: list[Store]) -> None:
    positions: dict[str, str] = {}
    names = ["a", "b", "c"]
    assert stores[-1].reports.follow(names, positions, block=0) == []
    posted = at_once(MANY, lambda n: stores[n].reports.post(make_report(case_name=names[n % 3], error=str(n))))
    followed = stores[-1].reports.follow(names, positions, block=0)
    assert Counter(report.error for report in followed) == Counter(report.error for report in posted)
    assert [report.at for report in followed] == sorted(report.at or 0 for report in posted)
    assert [report.error for report in stores[0].reports.latest(names, count=5)] == [one.error for one in followed[-5:]]


def test_follow_returns_when_a_report_arrives(store: Store, settings: Settings) -> None:
    watcher = Store(settings, timeout=20)
    positions: dict[str, str] = {}
    watcher.reports.follow([CASE], positions, block=0)

    def act(number: int) -> list[str | None]:
        if number:
            store.reports.post(make_report(error="woken"))
            return []
        return [report.error for report in watcher.reports.follow([CASE], positions, block=10)]

    before = store.time()
    assert at_once(2, act)[0] == ["woken"]
    assert store.time() - before < 5
    watcher.client.close()


def test_follow_can_block_for_longer_than_the_timeout(settings: Settings) -> None:
    store = Store(settings, timeout=1.0)
    assert store.reports.follow([CASE], {}, block=60) == []
    store.client.close()


def test_concurrent_signs_of_life_are_one_key_that_expires(stores: list[Store], redis_client: redis.Redis) -> None:
    at_once(MANY, lambda number: stores[number].liveness.beat_seen())
    seconds = stores[0].liveness.read().beat
    assert seconds is not None
    assert 0 <= seconds < 5
    assert 0 < redis_client.ttl(stores[0].keys.beat) <= 120


def test_number_of_fields_of_a_suite_is_bounded(store: Store, redis_client: redis.Redis) -> None:
    for number, state in enumerate([*State, *State]):
        test = make_test(str(number))
        claim(store, test)
        judge(store, test, state, state_transition_delay=0)
        fail(store)
        store.suites.stalled({CASE: 0})
        claim_run(store, 0.001, str(number), lease=0)
        store.schedule_runs.lapsed([CASE], lease=0)
    fields = redis_client.hkeys(store.keys.suite(CASE))
    assert len(fields) <= 22 + len(State)
