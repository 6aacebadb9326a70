"""The connections of one process: their limit, which its stores share, and the end of idle ones."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store import Store
from livecheck_celery.store.redis import pool as pool_module
from livecheck_celery.store.redis.pool import Connections
from tests.helpers.factories import make_settings
from tests.helpers.fault_proxy import HOST, FaultProxy
from tests.helpers.store_operations import claim
from tests.helpers.waiting import at_once, wait_until

LIMIT = 8


@pytest.fixture
def connections() -> Connections:
    return Connections(LIMIT)


@pytest.fixture
def stores(redis_url: str, connections: Connections) -> Iterator[list[Store]]:
    """The stores of one process, with different timeouts."""
    stores = [Store(make_settings(redis_url), timeout=timeout, connections=connections) for timeout in (2.0, 1.0, 0.4)]
    yield stores
    for store in stores:
        store.client.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def connected(admin: redis.Redis) -> int:
    """Return the number of connections to the server, without that of ``admin``."""
    return len(admin.client_list()) - 1


@pytest.mark.promise(
    "The connections of one process to Redis are limited (`redis_max_connections`), and idle ones are closed.",
    theme="bounds",
)
def test_more_threads_than_connections_take_turns(
    stores: list[Store], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(redis_url) as admin, stores[0].signals.subscription("address"):
        before = connected(admin)  # with the subscription, and those of fixtures
        outcomes = at_once(LIMIT * 12, lambda number: claim(stores[number % 3], str(number)).outcome)
        assert set(outcomes) == {"run"}
        assert connected(admin) <= before - 1 + LIMIT
        assert connected(admin) > before, "kept for the next calls"
        monkeypatch.setattr(pool_module, "IDLE_FOR", 0.0)
        stores[0].time()
        wait_until(lambda: connected(admin) <= before + 1, what="idle connections are closed")


def test_thread_waits_for_a_connection_while_all_are_in_use(stores: list[Store]) -> None:
    pool = stores[1].client.connection_pool
    in_use = [pool.get_connection() for _ in range(LIMIT)]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(claim, stores[0])
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        pool.release(in_use.pop())
        assert waiting.result(5).outcome == "run", "an idle connection with another timeout was replaced"
    for connection in in_use:
        pool.release(connection)


def test_store_that_gets_no_connection_says_so(redis_url: str) -> None:
    store = Store(make_settings(redis_url), wait=0.1, connections=Connections(1))
    with store.signals.subscription("address"), pytest.raises(RedisUnavailable) as caught:
        store.time()
    assert "all 1 connections of this process are in use (livecheck_redis_max_connections)" in str(caught.value)
    assert not caught.value.unconfirmed
    store.time()
    store.client.close()


def test_connection_that_cannot_be_opened_takes_no_place(redis_url: str) -> None:
    connections = Connections(2)
    with FaultProxy((HOST, port_of(redis_url))) as proxy:
        store = Store(make_settings(f"redis://127.0.0.1:{proxy.port}/0"), wait=0.1, connections=connections)
        proxy.refuse()
        for _ in range(5):
            with pytest.raises(RedisUnavailable, match="refused"):
                store.time()
        proxy.heal()
        store.time()
        store.client.close()


def test_forked_child_opens_its_own_connections(redis_url: str) -> None:
    store = Store(make_settings(redis_url), connections=Connections(1))
    store.time()
    child = multiprocessing.get_context("fork").Process(target=store.time)
    child.start()
    child.join(10)
    assert child.exitcode == 0
    store.time()
    store.client.close()
