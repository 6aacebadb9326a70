"""What ``doctor`` says of how Redis keeps its data."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery.cli.doctor_redis import judge_storage

KEEPING: dict[str, Any] = {"aof_enabled": 1}


def judge(policy: str = "noeviction", limit: int = 0, aof: int = 1) -> list[tuple[bool, str]]:
    found = judge_storage({"maxmemory_policy": policy, "maxmemory": limit}, {"aof_enabled": aof})
    return [(remark.well, f"{remark.found}; {remark.mend}") for remark in found]


def test_of_a_redis_that_keeps_all_nothing_is_said() -> None:
    assert judge(limit=2**30) == []
    assert list(judge_storage({}, {})) == [], "nor of one that does not say"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lfu"])
def test_a_redis_that_drops_keys_when_it_is_full_is_wrong(policy: str) -> None:
    [(well, line)] = judge(policy, 64 * 2**20)
    assert not well
    assert line == (
        f"maxmemory-policy is {policy}: when 64 MiB are full, Redis drops running tests and counters; "
        "set maxmemory-policy noeviction, or use another Redis"
    )


def test_without_a_limit_it_is_a_remark() -> None:
    [(well, line)] = judge("allkeys-lru")
    assert well
    assert line.startswith("maxmemory-policy is allkeys-lru, which matters once there is a maxmemory")


def test_a_redis_without_persistence_is_a_remark() -> None:
    [(well, line)] = judge(aof=0)
    assert well
    assert line == "appendonly is off, so a restart loses tests and counters; docs/servers.md says how much"
