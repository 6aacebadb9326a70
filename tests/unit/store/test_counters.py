"""Counters of all processes."""

import redis

from livecheck_celery.store import Store


def test_counts_add_up_for_a_day(store: Store, redis_client: redis.Redis) -> None:
    assert store.counters.read().counts == {}
    store.counters.add({"dropped: full": 2})
    store.counters.add({"dropped: full": 1, "headers ignored: forged": 5})
    tallied = store.counters.read()
    assert tallied.counts == {"dropped: full": 3, "headers ignored: forged": 5}
    assert 0 <= tallied.age < 60
    assert 0 < redis_client.ttl(store.keys.counters) <= 24 * 3600
