"""Counters of all processes."""

import pytest
import redis

from livecheck_celery.store import Store, counters
from livecheck_celery.store.counters import IGNORED, ServiceCount


def test_counts_add_up_for_a_day(store: Store, redis_client: redis.Redis) -> None:
    assert store.counters.read().counts == {}
    store.counters.add({"dropped: full": 2})
    store.counters.add({"dropped: full": 1, "headers ignored: forged": 5})
    tallied = store.counters.read()
    assert tallied.counts == {"dropped: full": 3, "headers ignored: forged": 5}
    assert 0 <= tallied.age < 60
    assert tallied.ages.keys() == tallied.counts.keys()
    assert all(0 <= age < 60 for age in tallied.ages.values())
    assert 0 < redis_client.ttl(store.keys.counters) <= 24 * 3600


def test_age_of_a_count_is_that_of_the_last_one(store: Store, redis_client: redis.Redis) -> None:
    forged = ServiceCount(IGNORED, "stock", "forged")
    store.counters.add({"dropped: full": 1, forged.field: 1})
    for reason in ("dropped: full", forged.field):
        redis_client.hset(store.keys.counters, f"@{reason}", store.time() - 7200)
    store.counters.add({"dropped: full": 1})
    tallied = store.counters.read()
    assert tallied.ages["dropped: full"] < 60
    assert tallied.services == (forged._replace(times=1, age=tallied.services[0].age),)
    assert 7200 <= tallied.services[0].age < 7260


def test_number_of_reasons_is_bounded_and_known_ones_are_still_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "MAX_REASONS", 3)
    for _ in range(2):
        store.counters.add({"one": 1, "two": 1})
        store.counters.add({"three": 1, "four": 1})
    assert store.counters.read().counts == {"one": 2, "two": 2, "three": 2}


@pytest.mark.parametrize("count", ["1.5", "x", "", "-1", "9" * 19])
def test_count_that_livecheck_did_not_write_begins_anew(store: Store, redis_client: redis.Redis, count: str) -> None:
    store.counters.add({"two": 1})
    redis_client.hset(store.keys.counters, "two", count)
    store.counters.add({"one": 1, "two": 1})
    assert store.counters.read().counts == {"one": 1, "two": 1}
