"""The suite fails when too many of its recent tests fail, and recovers."""

from __future__ import annotations

from itertools import count

import pytest
import redis

from livecheck_celery.models import State
from livecheck_celery.store import Store, Verdict
from livecheck_celery.store.statistics import DEFAULT_LIMITS, Recent
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_test

_numbers = count()


def verdicts(store: Store, pattern: str, **options: object) -> list[Verdict]:
    """Run a test for each character: ``p`` passes, ``s`` skips, any other fails; the replies."""
    replies = []
    for one in pattern:
        test = make_test(str(next(_numbers)))
        claim(store, test)
        state = {"p": State.PASS, "s": State.SKIP}.get(one, State.TIMEOUT)
        replies.append(judge(store, test, state, **options))
    return replies


def changes(replies: list[Verdict]) -> list[tuple[int, str]]:
    return [(at, reply.change) for at, reply in enumerate(replies) if reply.change]


def test_suite_fails_once_when_the_failure_rate_exceeds_its_limit(store: Store) -> None:
    verdicts(store, "p" * 15)
    replies = verdicts(store, "pft" * 30)
    assert changes(replies) == [(7, "rate")], "5 of 23 tests are the first over 20 %"
    assert replies[7].recent == Recent(5, 23)
    assert store.suites.statistics(CASE).failing_since == pytest.approx(replies[7].at, abs=1e-5)


def test_rate_is_not_judged_on_few_tests(store: Store) -> None:
    assert changes(verdicts(store, "pf" * 9 + "p")) == []
    assert changes(verdicts(store, "f")) == [(0, "rate")], "the 20th test"


def test_status_of_a_failing_suite_is_not_restored_by_a_pass(store: Store, redis_client: redis.Redis) -> None:
    verdicts(store, "pf" * 10)
    redis_client.hset(store.keys.suite(CASE), "last_fail", store.time() - 500)
    *_, failed, passed = verdicts(store, "pfp")
    found = store.suites.statistics(CASE)
    assert (failed.status, passed.status, found.status) == (State.TIMEOUT, State.TIMEOUT, State.TIMEOUT)
    assert found.last_fail == pytest.approx(failed.at, abs=1e-5), "each failed test of a failing suite is its failure"
    assert store.suites.health({CASE: None}).failing == {CASE}


def test_limit_of_one_disables_the_rate(store: Store) -> None:
    limits = DEFAULT_LIMITS._replace(max_failure_rate=1.0, max_consecutive_failures=10**6)
    assert changes(verdicts(store, "f" * 60, limits=limits)) == []


def test_skipped_tests_do_not_count(store: Store) -> None:
    replies = verdicts(store, "pf" * 9 + "s" * 30)
    assert changes(replies) == []
    assert replies[-1].recent == Recent(9, 18)


@pytest.mark.parametrize(("tests", "recovers"), [("p" * 19, False), ("p" * 20, True)])
def test_passes_in_a_row_end_the_failure_and_forget_the_failed_tests(store: Store, tests: str, recovers: bool) -> None:
    verdicts(store, "f" * 100)
    assert bool(changes(verdicts(store, tests))) is recovers
    found = store.suites.statistics(CASE)
    assert (found.failing_since is None) is recovers
    if recovers:
        assert found.recent == Recent(0, 0)
        assert changes(verdicts(store, "fpfp")) == [], "measured anew"


def test_half_the_limit_ends_the_failure(store: Store) -> None:
    limits = DEFAULT_LIMITS._replace(failure_rate_tests=40)
    verdicts(store, "p" * 31)
    assert changes(verdicts(store, "f" * 9, limits=limits)) == [(8, "rate")], "9 of 40"
    assert changes(verdicts(store, "p" * 39 + "f", limits=limits)) == [], "9 of 79 is above 10 %"
    assert changes(verdicts(store, "p" * 30, limits=limits)) == [(19, "recovered")], "10 of 100"


def test_consecutive_failures_fail_the_suite_once_and_a_pass_ends_it(store: Store) -> None:
    limits = DEFAULT_LIMITS._replace(max_consecutive_failures=3)
    assert changes(verdicts(store, "ffffff", limits=limits)) == [(2, "consecutive")]
    assert changes(verdicts(store, "p", limits=limits)) == [(0, "recovered")], "few tests: no rate"
    assert changes(verdicts(store, "fff", limits=limits)) == [(2, "consecutive")]


def test_window_is_at_least_a_hundred_tests(store: Store) -> None:
    verdicts(store, "f" * 10)
    limits = DEFAULT_LIMITS._replace(failure_rate_window=0.001)
    *_, last = verdicts(store, "p" * 90, limits=limits)
    assert last.recent == Recent(10, 100)
    *_, last = verdicts(store, "p" * 20, limits=limits)
    assert last.recent.failures == 0
    assert 100 <= last.recent.tests <= 110


def test_window_covers_its_time_however_many_tests(store: Store) -> None:
    *_, last = verdicts(store, "p" * 400)
    assert last.recent == Recent(0, 400), "all are of the last minute"


def test_old_tests_leave_the_window_of_a_busy_case(store: Store, redis_client: redis.Redis) -> None:
    now = store.time()
    buckets = [f"{now - 60 + 6 * each:.6f}:50:{50 * (each < 2)}" for each in range(10)]
    redis_client.hset(store.keys.suite(CASE), "recent", " ".join([f"{now - 66:.6f}:50:50", *buckets]))
    [last] = verdicts(store, "p")
    assert last.recent == Recent(100, 501), "the oldest bucket left"


def test_repeated_verdict_repeats_its_change(store: Store) -> None:
    limits = DEFAULT_LIMITS._replace(max_consecutive_failures=1)
    test = make_test("once")
    claim(store, test)
    first = judge(store, test, State.FAIL, limits=limits)
    assert first.change == "consecutive"
    assert judge(store, test, State.FAIL, limits=limits) == first


def test_recovered_service_does_not_restore_the_status_of_a_failing_suite(
    store: Store, redis_client: redis.Redis
) -> None:
    verdicts(store, "pf" * 10)
    redis_client.hset(store.keys.suite(CASE), "consecutive_failures", 0)
    store.suites.service_recovered(CASE, state_transition_delay=0)
    assert store.suites.statistics(CASE).status is State.TIMEOUT


def test_time_of_the_last_failed_test_is_kept(store: Store) -> None:
    failed, _ = verdicts(store, "fp")
    found = store.suites.statistics(CASE)
    assert found.last_failed_test == pytest.approx(failed.at, abs=1e-5)
    assert found.last_fail is None, "the suite has not failed"
