"""Batches: writes that are sent together."""

import pytest
import redis

from livecheck_celery.errors import InvalidPayload, RedisUnavailable
from livecheck_celery.store import Store
from tests.helpers.factories import CASE, make_signal, make_test


def test_batch_has_an_outcome_for_each_write(store: Store) -> None:
    with store.batch() as batch:
        batch.record(make_test("a"), expires_in=60)
        batch.record(make_test("a"), expires_in=60)
        batch.signal(make_signal(key="a"), ttl=60)
        batch.record(make_test("b"), expires_in=60, delay=5)
        assert batch.outcomes == []
    assert [outcome if isinstance(outcome, str) else "done" for outcome in batch.outcomes] == [
        "done",
        "duplicate",
        "done",
        "done",
    ]
    assert list(store.signals.listen(CASE, "a", "here", ttl=60)) == ["order_sent"]


def test_empty_batch_has_no_outcomes(store: Store) -> None:
    with store.batch() as batch:
        pass
    assert batch.outcomes == []


def test_batch_whose_block_raised_sends_nothing(store: Store, redis_client: redis.Redis) -> None:
    batch = store.batch()
    batch.record(make_test("a"), expires_in=60)
    with pytest.raises(InvalidPayload), batch:
        batch.record(make_test("b", test_args=[object()]), expires_in=60)
    assert redis_client.keys() == []


def test_failed_write_of_a_batch_is_an_outcome_and_the_others_are_done(store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(store.keys.signals(CASE, "b"), "not a hash", ex=60)
    with store.batch() as batch:
        batch.record(make_test("a"), expires_in=60)
        batch.signal(make_signal(key="b"), ttl=60)
        batch.signal(make_signal(key="a"), ttl=60)
    first, failed, last = batch.outcomes
    assert isinstance(first, float)
    assert isinstance(last, float)
    assert isinstance(failed, RedisUnavailable)
    assert "refused a command" in str(failed)
