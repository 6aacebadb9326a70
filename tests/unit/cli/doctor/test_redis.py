"""``doctor`` on Redis: lost data, refused connections, beat and schedules, clocks, and failures in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import redis

from livecheck_celery import LiveCheck, RedisUnavailable
from livecheck_celery.cli.celery_commands import Commands, Program
from livecheck_celery.cli.doctor.findings import Finding
from livecheck_celery.cli.doctor.redis import (
    check_clocks,
    check_counters,
    check_schedules,
    check_storage,
    judge_clients,
    judge_reports,
    judge_storage,
)
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import RunningProcess
from tests.helpers.doctor import lines, run
from tests.helpers.factories import make_settings

KEEPING: dict[str, Any] = {"aof_enabled": 1}


def judge(policy: str = "noeviction", limit: int = 0, aof: int = 1) -> list[tuple[bool, str]]:
    findings = judge_storage({"maxmemory_policy": policy, "maxmemory": limit}, {"aof_enabled": aof})
    return [(finding.ok, f"{finding.found}; {finding.fix}") for finding in findings]


def test_durable_redis_has_no_finding() -> None:
    assert judge(limit=2**30) == []
    assert list(judge_storage({}, {})) == [], "nor has a server that does not report the fields"


@pytest.mark.parametrize(
    ("cases", "limit", "options", "found"),
    [
        (10, 320, {}, ""),
        (11, 320, {}, "reports of 11 cases can take 176 MiB, and maxmemory is 320 MiB"),
        (10_000, 2048, {}, ""),
        (10_000, 2047, {}, "reports of 10000 cases can take 1024 MiB, and maxmemory is 2047 MiB"),
        (10_000, 128, {"max_all_report_bytes": 2**26}, ""),
        (10_000, 128, {"send_reports": False}, ""),
        (10_000, 0, {}, ""),
    ],
)
def test_reports_that_can_fill_half_of_the_memory_are_a_warning(
    cases: int, limit: int, options: dict[str, Any], found: str
) -> None:
    findings = list(judge_reports({"maxmemory": limit * 2**20}, make_settings("redis://fake", **options), cases))
    assert [(one.found, one.fix) for one in findings] == (
        [(found, "lower livecheck_max_all_report_bytes, or raise maxmemory of Redis")] if found else []
    )


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lfu"])
def test_eviction_is_an_error(policy: str) -> None:
    [(ok, line)] = judge(policy, 64 * 2**20)
    assert not ok
    assert line == (
        f"maxmemory-policy is {policy}: above 64 MiB, Redis evicts running tests and counters; "
        "set maxmemory-policy noeviction, or use a separate Redis"
    )


def test_eviction_policy_without_a_memory_limit_is_a_note() -> None:
    [(ok, line)] = judge("allkeys-lru")
    assert ok
    assert line.startswith("maxmemory-policy is allkeys-lru, which takes effect once maxmemory is set")


def test_missing_persistence_is_a_note() -> None:
    [(ok, line)] = judge(aof=0)
    assert ok
    assert (
        line
        == "appendonly is off: a restart of Redis loses tests and counters; set appendonly yes; see docs/servers.md"
    )


def found(findings: Iterable[Finding]) -> list[tuple[bool, str, str]]:
    return [(finding.ok, finding.subject, finding.found) for finding in findings]


def test_redis_that_fails_during_the_checks_is_an_error_of_each(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str) -> Any:
        raise RedisUnavailable("the connection was closed")

    monkeypatch.setattr(store, "server_info", fail)
    monkeypatch.setattr(store.liveness, "read", fail)
    monkeypatch.setattr(store.liveness, "clock_offset", fail)
    monkeypatch.setattr(store.counters, "read", fail)
    commands = Commands(Program("shop_app", ("worker",)), Program("shop_app", ("beat",)))
    findings = [
        *check_storage(livecheck),
        *check_schedules(livecheck, commands),
        *check_clocks(livecheck),
        *check_counters(livecheck),
    ]
    subjects = ["storage", "beat", "clock", "outbox"]
    assert found(findings) == [(False, subject, "the connection was closed") for subject in subjects]


def test_clock_is_not_measured_by_a_slow_answer(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.liveness, "clock_offset", lambda: None)
    assert found(check_clocks(livecheck)) == [(True, "clock", "not measured: Redis answers too slowly")]


def test_redis_without_connections_for_one_more_process_is_a_warning() -> None:
    [finding] = judge_clients({"maxclients": 24, "connected_clients": 12}, 20)
    assert finding.level == "warn"
    assert finding.found == "12 of 24 clients are connected, and one process of LiveCheck can use 20"
    assert "livecheck_redis_max_connections" in finding.fix
    assert len(list(judge_clients({"maxclients": 24, "connected_clients": 1}, 20))) == 1, "two processes are too many"
    assert list(judge_clients({"maxclients": 10000, "connected_clients": 12}, 20)) == []
    assert list(judge_clients({"connected_clients": 12}, 20)) == [], "a server that does not report its limit"


def test_clock_of_a_worker_or_beat_that_is_off_is_an_error_that_names_it(livecheck: LiveCheck, store: Store) -> None:
    for kind, name, offset in (("worker", "celery@a", 0.01), ("worker", "celery@b", 10800.0), ("beat", "c", -10.0)):
        store.liveness.sign_in(RunningProcess(name, kind, name, f"host-{name[-1]}", 7, clock_offset=offset))
    result = run()
    assert result.exit_code == 1
    this, beat, worker = lines(result)["clock"]
    assert this.startswith("ok: this machine differs from Redis by 0.")
    assert beat.startswith("error: beat c on host-c is 10.0 s behind Redis")
    assert worker.startswith("error: worker celery@b on host-b is 3 h ahead of Redis")
    assert worker.endswith("; synchronise both with NTP")


def test_beat_without_any_sign_of_life_is_an_error(livecheck: LiveCheck, redis_client: redis.Redis) -> None:
    redis_client.flushall()
    result = run()
    assert result.exit_code == 1
    assert lines(result)["beat"] == ["error: not seen in the last 2 minutes; start beat: celery -A shop_app beat"]


def test_silent_beat_is_an_error(livecheck: LiveCheck, store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(store.keys.beat, store.time() - 61, ex=9)
    result = run()
    assert result.exit_code == 1
    assert lines(result)["beat"] == ["error: last seen 61 s ago; start beat: celery -A shop_app beat"]
    assert lines(result)["schedules"] == ["ok: last executed 0 s ago"]


def test_schedules_without_worker_are_an_error(livecheck: LiveCheck, store: Store, redis_client: redis.Redis) -> None:
    redis_client.delete(store.keys.schedules)
    result = run()
    assert result.exit_code == 1
    assert lines(result)["schedules"] == [
        "error: not executed in the last 2 minutes; start beat, and a worker that consumes livecheck.schedule"
    ]


def test_outdated_redis_is_an_error(
    livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "5.0.7"})
    assert lines(run())["redis"] == ["error: Redis at redis://fake:6379/0 is 5.0.7; LiveCheck needs 6.2 or newer"]


@pytest.mark.parametrize(("skew", "words"), [(30.0, "30.0 s behind Redis"), (-30.0, "30.0 s ahead of Redis")])
def test_clock_difference_is_an_error(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch, skew: float, words: str
) -> None:
    monkeypatch.setattr(store.liveness, "clock_offset", lambda: -skew)
    [finding] = check_clocks(livecheck)
    assert not finding.ok
    assert words in finding.found
