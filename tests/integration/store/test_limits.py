"""What outsiders can cause is limited: open executions by bytes, and executions a second."""

from __future__ import annotations

import pytest
import redis

from livecheck_celery import Case, LiveCheck
from livecheck_celery.errors import TooManyTests
from livecheck_celery.models import TestExecution
from livecheck_celery.store import Store
from livecheck_celery.store.encoding import execution_json
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_settings, make_test
from tests.helpers.redis_keys import let_time_pass
from tests.helpers.waiting import wait_until

MAX_OPEN_BYTES = 10_000


@pytest.fixture
def small(redis_url: str) -> Store:
    return Store(make_settings(redis_url, max_open_bytes=MAX_OPEN_BYTES))


def large(test_id: str) -> TestExecution:
    return make_test(test_id, test_args=["x" * 3_000])


def open_bytes(client: redis.Redis, store: Store) -> int:
    return int(client.hget(store.keys.suite(CASE), "open_bytes") or 0)


def fill(store: Store, first: int = 0) -> list[TestExecution]:
    """Record tests until one is refused; return the others."""
    recorded: list[TestExecution] = []
    try:
        while True:
            recorded.append(store.executions.record(large(str(first + len(recorded))), expires_in=60))
    except TooManyTests as exc:
        assert "livecheck_max_open_bytes" in str(exc)  # noqa: PT017 - it ends the loop
        return recorded


@pytest.mark.promise("Tests without a verdict are bounded by number and by bytes.", theme="bounds")
def test_test_over_max_open_bytes_is_refused_until_one_has_its_verdict(small: Store, redis_client: redis.Redis) -> None:
    first, *others = fill(small)
    assert open_bytes(redis_client, small) == sum(len(execution_json(large(one.id))) for one in (first, *others))
    assert MAX_OPEN_BYTES - 3_500 < open_bytes(redis_client, small) <= MAX_OPEN_BYTES
    claim(small, first)
    judge(small, first)
    assert len(fill(small, 10)) == 1
    assert open_bytes(redis_client, small) <= MAX_OPEN_BYTES


def test_one_test_that_is_larger_than_the_limit_is_recorded_alone(redis_url: str) -> None:
    store = Store(make_settings(redis_url, max_open_bytes=100))
    assert len(fill(store)) == 1


def test_bytes_are_right_again_when_no_test_is_open(small: Store, redis_client: redis.Redis) -> None:
    tests = fill(small)
    chained = large("chained")
    claim(small, chained)  # recorded by its message
    assert open_bytes(redis_client, small) > MAX_OPEN_BYTES
    redis_client.delete(small.keys.test(CASE, tests[0].id))  # expired before a sweep closed it
    small.executions.make_due(CASE, [tests[0].id])
    assert small.executions.recover(CASE, tests[0].id, "sweep").action == "none"
    small.executions.discard(CASE, tests[1].id)
    assert 0 < open_bytes(redis_client, small) < MAX_OPEN_BYTES
    for one in tests[2:]:
        claim(small, one)
        judge(small, one)
    judge(small, chained)
    assert redis_client.zcard(small.keys.open(CASE)) == open_bytes(redis_client, small) == 0


def test_bytes_of_open_tests_that_redis_lost_do_not_count(small: Store, redis_client: redis.Redis) -> None:
    fill(small)
    let_time_pass(redis_client, 10 * 24 * 3600)
    wait_until(lambda: not redis_client.exists(small.keys.open(CASE)), what="expired keys")
    assert open_bytes(redis_client, small) > 0
    assert len(fill(small, 10)) > 1


# -- the rate


def record(store: Store, number: int, max_rate: float, *, synthetic: bool = False) -> bool:
    test = make_test(f"{number} {synthetic}", synthetic=synthetic)
    try:
        store.executions.record(test, expires_in=60, max_rate=max_rate)
    except TooManyTests as exc:
        assert str(exc).endswith(f": more than {max_rate:g} tests of the case a second (max_rate)")  # noqa: PT017 - above
        return False
    return True


@pytest.mark.promise(
    "Requests of outsiders trigger at most `max_rate` tests a second, and do not use up the rate of fake requests.",
    theme="bounds",
)
def test_tests_over_max_rate_are_refused_and_those_of_fake_requests_are_not(store: Store) -> None:
    # 2 a second: 20 at once, for ten seconds, and no more than 2 in each second of the loop.
    began = store.time()
    accepted = sum(record(store, number, 2.0) for number in range(60))
    assert 20 <= accepted <= 20 + 2 * (store.time() - began) + 1
    assert record(store, 1, 2.0, synthetic=True)
    wait_until(lambda: record(store, 1_000, 2.0), 10, "an accepted test")


def test_rate_of_less_than_one_in_ten_seconds_accepts_one(store: Store) -> None:
    assert [record(store, number, 0.001) for number in range(3)] == [True, False, False]


def test_clock_that_is_set_back_holds_up_no_test(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.suite(CASE), "rate", f"{store.time() + 1_000_000:.6f}")
    assert record(store, 1, 10.0)


def test_refused_test_uses_up_no_rate(small: Store) -> None:
    assert small.executions.record(make_test("1"), expires_in=60, max_rate=0.2)
    for _ in range(5):
        with pytest.raises(Exception, match="has no verdict yet"):
            small.executions.record(make_test("1"), expires_in=60, max_rate=0.2)
    assert small.executions.record(make_test("2"), expires_in=60, max_rate=0.2)


def test_requests_over_max_rate_are_dropped_and_counted(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    @livecheck.case(name=CASE, probability=1.0, max_rate=0.1)
    class test_order(Case):
        def run(self) -> None: ...

    for number in range(3):
        with test_order.maybe_trigger(str(number)):
            pass
    assert livecheck.flush()
    assert livecheck.runtime.outbox.counts == {"rate": 2}
    assert "outbox: dropped 1 items so far (rate): too many tests of the case a second (max_rate)" in caplog.text
    assert livecheck.runtime.store.counters.read().counts["dropped: rate"] == 2
    with pytest.raises(TooManyTests):
        test_order.trigger("3")
