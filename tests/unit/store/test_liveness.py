"""Signs of life, and the claim of the heartbeat."""

import pytest
import redis

from livecheck_celery.store import Store
from tests.helpers.waiting import wait_until


def test_signs_of_life_expire_after_two_minutes(store: Store, redis_client: redis.Redis) -> None:
    assert store.liveness.read() == (None, None)
    store.liveness.beat_seen()
    assert 118 <= redis_client.ttl(store.keys.beat) <= 120
    redis_client.set(store.keys.beat, store.time() - 7, ex=120)
    assert store.liveness.read() == (pytest.approx(7, abs=1), None)
    store.liveness.schedules_seen()
    assert 118 <= redis_client.ttl(store.keys.schedules) <= 120
    assert store.liveness.read().schedules == pytest.approx(0, abs=1)


def test_heartbeat_is_claimed_once_in_each_period(store: Store) -> None:
    assert store.liveness.claim_heartbeat(0.3)
    start = store.time()
    assert not store.liveness.claim_heartbeat(0.3)
    wait_until(lambda: store.liveness.claim_heartbeat(0.3))
    assert store.time() - start >= 0.25


def test_heartbeat_is_claimed_for_less_than_its_period(store: Store, redis_client: redis.Redis) -> None:
    assert store.liveness.claim_heartbeat(60.0)
    assert 50_000 < redis_client.pttl(store.keys.heartbeat) < 60_000, "beat does not tick exactly"
