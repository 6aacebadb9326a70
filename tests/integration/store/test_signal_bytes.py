"""Signals, whose values outsiders choose, are bounded by bytes: those of open tests, and those of finished ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import redis

from livecheck_celery.errors import TooManyTests
from livecheck_celery.store import Store
from livecheck_celery.store.database import FORGET_AFTER
from livecheck_celery.store.encoding import execution_json
from livecheck_celery.store.signals import OVERFLOW
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_settings, make_signal, make_test
from tests.helpers.redis_keys import let_time_pass

MAX_OPEN_BYTES = 20_000
LARGE = '"' + "v" * 3_000 + '"'


@pytest.fixture
def small(redis_url: str) -> Store:
    return Store(make_settings(redis_url, max_open_bytes=MAX_OPEN_BYTES))


def record(store: Store, test_id: str, *, synthetic: bool = False) -> bool:
    try:
        store.executions.record(make_test(test_id, synthetic=synthetic), expires_in=60)
    except TooManyTests:
        return False
    return True


def send(store: Store, key: str, name: str = "order_sent", value: str = LARGE) -> str | None:
    return store.signals.send(make_signal(name, value, key), ttl=60)


def stored_bytes(client: redis.Redis, store: Store) -> int:
    keys = client.scan_iter(store.keys.signals(CASE, "*"))
    return sum(len(one) for key in keys for one in client.hvals(key))


def open_bytes(client: redis.Redis, store: Store) -> int:
    return int(client.hget(store.keys.suite(CASE), "open_bytes") or 0)


def until_refused(store: Store, key: str) -> Iterator[str]:
    """Send signals to ``key`` until one is refused; yield the names of the others."""
    for number in count():
        if send(store, key, f"s{number}") == OVERFLOW:
            return
        yield f"s{number}"


@pytest.mark.promise(
    "Signals of tests are bounded by bytes, and those of outsiders do not use up what fake requests need.",
    theme="bounds",
)
def test_signals_of_open_tests_count_and_are_refused_over_twice_the_limit(
    small: Store, redis_client: redis.Redis
) -> None:
    assert all(record(small, test_id) for test_id in "ab")
    assert record(small, "fake", synthetic=True)
    sent = list(until_refused(small, "a"))
    assert 2 * MAX_OPEN_BYTES - 4_000 < open_bytes(redis_client, small) <= 2 * MAX_OPEN_BYTES
    assert send(small, "b") == OVERFLOW
    assert not record(small, "c")
    assert send(small, "fake") is None
    assert send(small, "a", sent[0], '"v"') is None  # it replaces a longer one
    assert send(small, "b", value='"v"') is None
    claim(small, make_test("a"))
    judge(small, make_test("a"))
    assert open_bytes(redis_client, small) < MAX_OPEN_BYTES / 2
    assert record(small, "c")
    assert send(small, "b") is None


def test_fake_requests_are_tested_while_outsiders_use_up_the_limit(small: Store) -> None:
    assert record(small, "a")
    list(until_refused(small, "a"))
    small.executions.discard(CASE, "a")
    for number in range(100):
        if not record(small, f"b{number}"):
            break
        send(small, f"b{number}")
    else:
        pytest.fail("nothing was refused")
    assert record(small, "fake", synthetic=True)
    assert send(small, "fake") is None


def test_signals_that_arrive_before_the_trigger_count(small: Store, redis_client: redis.Redis) -> None:
    assert send(small, "a") is None
    assert record(small, "a")
    assert open_bytes(redis_client, small) == stored_bytes(redis_client, small) + len(execution_json(make_test("a")))
    claim(small, make_test("a"))
    judge(small, make_test("a"))
    assert open_bytes(redis_client, small) == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_signals_of_finished_tests_are_bounded_by_bytes(small: Store, redis_client: redis.Redis, when: str) -> None:
    for number in range(40):
        test = make_test(str(number))
        assert record(small, test.id)
        if when == "before":
            assert send(small, test.id) is None
        claim(small, test)
        judge(small, test)
        if when == "after":
            send(small, test.id)
    let_time_pass(redis_client, 2)
    assert MAX_OPEN_BYTES / 2 < stored_bytes(redis_client, small) <= MAX_OPEN_BYTES
    let_time_pass(redis_client, FORGET_AFTER)
    assert stored_bytes(redis_client, small) == 0


def test_after_a_while_signals_of_finished_tests_are_kept_again(small: Store, redis_client: redis.Redis) -> None:
    assert record(small, "a")
    claim(small, make_test("a"))
    judge(small, make_test("a"))
    sent = list(until_refused(small, "a"))
    assert 3 <= len(sent) <= 6
    redis_client.hset(small.keys.suite(CASE), "kept", f"{small.time() + 1:.6f}")  # nearly all are forgotten
    assert send(small, "a") is None
