"""Answers that are missing, and refusals: what the errors say, and which writes are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from livecheck_celery.errors import DuplicateTest, RedisRefused, RedisUnavailable
from livecheck_celery.store import Store
from livecheck_celery.store.redis.client import no_retry
from livecheck_celery.store.retry import retry_forever
from tests.helpers.factories import make_settings, make_signal, make_test
from tests.helpers.fault_proxy import HOST, FaultProxy


class Cutting(redis.Connection):
    """Closes the connection in place of some answers, after the server has executed the command."""

    cuts = 0

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().read_response(*args, **kwargs)
        if Cutting.cuts:
            Cutting.cuts -= 1
            self.disconnect()
            raise redis.ConnectionError("Connection closed by server.")
        return response


@pytest.fixture
def cut(redis_url: str) -> Iterator[Store]:
    options: dict[str, Any] = {"connection_class": Cutting, "decode_responses": True, "protocol": 2}
    pool = redis.ConnectionPool.from_url(redis_url, retry=no_retry(), **options)
    with redis.Redis.from_pool(pool) as client:
        store = Store(make_settings(redis_url), client)
        for write in WRITES.values():
            write(store, "warm")  # loads the scripts
        yield store
    Cutting.cuts = 0


def in_batch(store: Store, name: str) -> Any:
    with store.batch() as batch:
        batch.record(make_test(f"batch-{name}"), expires_in=60.0)
        batch.signal(make_signal(key=f"batch-{name}"), ttl=60.0)
    return batch.outcomes


WRITES: dict[str, Callable[[Store, str], Any]] = {
    "record": lambda store, name: store.executions.record(make_test(name), expires_in=60.0),
    "signal": lambda store, name: store.signals.send(make_signal(key=name), ttl=60.0),
    "batch": in_batch,
}


@pytest.mark.promise("A trigger or a signal whose connection is closed in the middle is sent again.", theme="signals")
@pytest.mark.parametrize("write", WRITES)
def test_write_whose_connection_is_cut_is_repeated(cut: Store, write: str) -> None:
    Cutting.cuts = 1
    outcome = WRITES[write](cut, "o-1")
    assert Cutting.cuts == 0
    assert "duplicate" not in str(outcome)


@pytest.mark.parametrize("write", WRITES)
def test_write_that_is_cut_twice_is_not_confirmed(cut: Store, write: str) -> None:
    Cutting.cuts = 2
    with pytest.raises(RedisUnavailable) as caught:
        WRITES[write](cut, "o-1")
    assert caught.value.unconfirmed
    assert Cutting.cuts == 0


def test_another_trigger_of_the_same_id_is_a_duplicate(cut: Store) -> None:
    cut.executions.record(make_test("o-1"), expires_in=60.0)
    with pytest.raises(DuplicateTest):
        cut.executions.record(make_test("o-1", test_args=(2,)), expires_in=60.0)


def test_missing_answer_is_told_from_a_command_that_was_not_sent(redis_url: str) -> None:
    with FaultProxy((HOST, int(redis_url.rpartition(":")[2].partition("/")[0]))) as proxy:
        store = Store(make_settings(f"redis://127.0.0.1:{proxy.port}/0"), timeout=0.3)
        store.time()
        proxy.half_open()
        with pytest.raises(RedisUnavailable) as silent:
            store.time()
        proxy.refuse()
        with pytest.raises(RedisUnavailable) as refused:
            store.time()
        proxy.heal()
        store.client.close()
    assert (silent.value.unconfirmed, silent.value.was_cut) == (True, False)
    assert (refused.value.unconfirmed, refused.value.was_cut) == (False, False)


def test_refusals_that_last_are_told_from_outages(redis_url: str, redis_client: redis.Redis) -> None:
    store = Store(make_settings(redis_url))
    redis_client.set(store.keys.counters, "text")
    with pytest.raises(RedisRefused, match="WRONGTYPE"):
        store.counters.add({"dropped: full": 1})
    redis_client.delete(store.keys.counters)
    redis_client.execute_command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "&*", "+@all", "-info")
    limited = Store(make_settings(redis_url.replace("redis://", "redis://limited:any@")))
    with pytest.raises(RedisRefused, match="rights of docs/servers.md"):
        retry_forever(limited.check)
    redis_client.execute_command("ACL", "DELUSER", "limited")
    unknown = Store(make_settings(redis_url.replace("redis://", "redis://nobody:any@")))
    with pytest.raises(RedisRefused, match="refused the login"):
        retry_forever(unknown.check)
    for each in (store, limited, unknown):
        each.client.close()
