"""Signs of life, and the claim of the heartbeat."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import redis

from livecheck_celery.store import Store
from livecheck_celery.store.liveness import SIGN_TTL, RunningProcess
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


# -- running processes


def process(name: str, kind: str = "worker") -> RunningProcess:
    return RunningProcess(
        id=f"{kind}-{name}", kind=kind, name=name, host="here", pid=7, clock_offset=0.25, queues=("q",)
    )


def test_running_processes_are_read_as_they_described_themselves(store: Store) -> None:
    store.liveness.sign_in(process("w2"), ["b", "a"])
    store.liveness.sign_in(process("w1"))
    store.liveness.sign_in(process("b", "beat"))
    beat, one, two = store.liveness.processes()
    assert (beat.kind, one.name, two.name) == ("beat", "w1", "w2")
    assert (two.id, two.host, two.pid, two.clock_offset, two.queues) == ("worker-w2", "here", 7, 0.25, ("q",))
    assert one.cases_digest != two.cases_digest
    assert 0 <= two.age < 5


def test_process_that_signs_off_is_forgotten(store: Store) -> None:
    store.liveness.sign_in(process("w1"))
    store.liveness.sign_in(process("w2"))
    store.liveness.sign_off("worker-w1")
    assert [one.name for one in store.liveness.processes()] == ["w2"]


def test_silent_process_is_not_running_and_the_next_sign_of_life_removes_it(
    store: Store, redis_client: redis.Redis
) -> None:
    for name in ("w1", "w2"):
        store.liveness.sign_in(process(name))
    redis_client.zadd(store.keys.seen, {"worker-w1": store.time() - SIGN_TTL - 1})
    assert [one.name for one in store.liveness.processes()] == ["w2"]
    store.liveness.sign_in(process("w2"))
    assert redis_client.hkeys(store.keys.processes) == ["worker-w2"]
    assert redis_client.zrange(store.keys.seen, 0, -1) == ["worker-w2"]


def test_record_of_another_version_is_read(store: Store, redis_client: redis.Redis) -> None:
    store.liveness.sign_in(process("w1"))
    record = '{"kind": "worker", "name": "new", "host": "h", "pid": 1, "shoe_size": 44}'
    redis_client.hset(store.keys.processes, "worker-w1", record)
    [found] = store.liveness.processes()
    assert (found.name, found.queues, found.clock_offset) == ("new", (), None)


def test_worker_without_the_times_of_stalled_checks_is_of_an_earlier_version(store: Store) -> None:
    store.liveness.sign_in(replace(process("w1"), has_stall_checks=True))
    store.liveness.sign_in(process("b", "beat"))
    assert not store.liveness.has_earlier_stall_checks()
    store.liveness.sign_in(process("w2"))
    assert store.liveness.has_earlier_stall_checks()


def test_declared_cases_are_those_of_all_running_workers(store: Store, redis_client: redis.Redis) -> None:
    assert store.liveness.declared_cases(store.liveness.processes()) is None
    store.liveness.sign_in(process("b", "beat"), ["of beat"])
    assert store.liveness.declared_cases(store.liveness.processes()) is None, "a beat runs no test"
    store.liveness.sign_in(process("w1"), ["a", "b"])
    store.liveness.sign_in(process("w2"), ["b", "c"])
    store.liveness.sign_in(process("w3"), ["c", "b"])
    assert store.liveness.declared_cases(store.liveness.processes()) == {"a", "b", "c"}
    assert len(redis_client.keys(store.keys.declared("*"))) == 3, "workers with the same cases share their names"
    redis_client.delete(*redis_client.keys(store.keys.declared("*")))
    assert store.liveness.declared_cases(store.liveness.processes()) is None
    store.liveness.sign_in(process("w1"), ["a", "b"])
    store.liveness.sign_in(process("w2"), ["b", "c"])
    assert store.liveness.declared_cases(store.liveness.processes()) == {"a", "b", "c"}


def test_difference_of_the_clocks_is_measured(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    there = store.liveness.clock_offset()
    assert there == pytest.approx(0, abs=0.5)
    ahead = SimpleNamespace(time=lambda: time.time() + 3 * 3600)
    monkeypatch.setattr("livecheck_celery.store.liveness.time", ahead)
    assert store.liveness.clock_offset() == pytest.approx(3 * 3600, abs=0.5)
    now = iter([1000.0, 1010.0])
    monkeypatch.setattr("livecheck_celery.store.liveness.time", SimpleNamespace(time=lambda: next(now)))
    assert store.liveness.clock_offset() is None, "a slow answer measures nothing"
