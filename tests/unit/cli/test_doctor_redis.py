"""The check of ``doctor`` whether Redis may lose data."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery.cli.doctor.redis import judge_storage

KEEPING: dict[str, Any] = {"aof_enabled": 1}


def judge(policy: str = "noeviction", limit: int = 0, aof: int = 1) -> list[tuple[bool, str]]:
    findings = judge_storage({"maxmemory_policy": policy, "maxmemory": limit}, {"aof_enabled": aof})
    return [(finding.ok, f"{finding.found}; {finding.fix}") for finding in findings]


def test_durable_redis_has_no_finding() -> None:
    assert judge(limit=2**30) == []
    assert list(judge_storage({}, {})) == [], "nor has a server that does not report the fields"


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
