"""Checks of Redis, and of its records about beat, the workers and the outboxes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from livecheck_celery.cli import console
from livecheck_celery.cli.doctor.findings import Commands, Finding
from livecheck_celery.cli.liveness import is_silent
from livecheck_celery.errors import LiveCheckError, RedisUnavailable
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.utils.redis_urls import without_password

#: Maximum seconds between the clocks of this machine, which sets the expiry of tests, and of Redis.
MAX_CLOCK_DIFFERENCE: Final = 2.0


def check_redis(livecheck: LiveCheck) -> Finding:
    """Check that Redis answers and is new enough."""
    try:
        livecheck.runtime.store.check()
        server = livecheck.runtime.store.server_info("server")
    except RedisUnavailable as exc:
        return Finding(False, "redis", str(exc), "start Redis, or correct redis_url")
    except LiveCheckError as exc:
        return Finding(False, "redis", str(exc))
    name = server.get("server_name", "redis").capitalize()
    version = server.get(f"{name.lower()}_version") or server.get("redis_version", "?")
    return Finding(True, "redis", f"{name} {version} at {without_password(livecheck.settings.redis_url)}")


def check_storage(livecheck: LiveCheck) -> Iterator[Finding]:
    """Check whether Redis may lose data."""
    try:
        memory = livecheck.runtime.store.server_info("memory")
        persistence = livecheck.runtime.store.server_info("persistence")
    except LiveCheckError as exc:
        yield Finding(False, "storage", str(exc))
        return
    yield from judge_storage(memory, persistence)


def judge_storage(memory: Mapping[str, Any], persistence: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge two sections of Redis' INFO; fields that a server does not report are not judged."""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    limit = int(memory.get("maxmemory", 0))
    if policy != "noeviction":
        found = f"maxmemory-policy is {policy}"
        if limit:
            found += f": above {limit / 2**20:.0f} MiB, Redis evicts running tests and counters"
            yield Finding(False, "storage", found, "set maxmemory-policy noeviction, or use a separate Redis")
        else:
            found += ", which takes effect once maxmemory is set"
            yield Finding(True, "storage", found, "set maxmemory-policy noeviction")
    if persistence.get("aof_enabled", 1) in (0, "0"):
        found = "appendonly is off: a restart of Redis loses tests and counters"
        yield Finding(True, "storage", found, "see docs/servers.md")


def check_schedules(livecheck: LiveCheck, commands: Commands) -> Iterator[Finding]:
    """Check that beat is alive, and that workers execute what it sends: fake requests, stall checks and recovery."""
    try:
        signs = livecheck.runtime.store.liveness.read()
    except LiveCheckError as exc:
        yield Finding(False, "beat", str(exc))
        return
    queue = livecheck.settings.schedule_queue
    for subject, age, action, fix in (
        ("beat", signs.beat, "seen", f"start beat: {commands.beat}"),
        ("schedules", signs.schedules, "executed", f"start beat, and a worker that consumes {queue}"),
    ):
        found = f"not {action} in the last 2 minutes" if age is None else f"last {action} {console.age(age)}"
        silent = is_silent(age)
        yield Finding(not silent, subject, found, fix if silent else "")


def check_clock(livecheck: LiveCheck) -> Finding:
    """Check that the clocks of this machine and of Redis agree."""
    try:
        before = time.time()
        there = livecheck.runtime.store.time()
        here = (before + time.time()) / 2
    except LiveCheckError as exc:
        return Finding(False, "clock", str(exc))
    difference = here - there
    if abs(difference) <= MAX_CLOCK_DIFFERENCE:
        return Finding(True, "clock", f"differs from Redis by {abs(difference):.3f} s")
    direction = "ahead of" if difference > 0 else "behind"
    found = f"this machine is {abs(difference):.1f} s {direction} Redis"
    return Finding(False, "clock", found, "synchronise both with NTP")


def check_counters(livecheck: LiveCheck) -> Finding:
    """Report the items and headers that all processes dropped or ignored in the last day."""
    try:
        counted = livecheck.runtime.store.counters.read()
    except LiveCheckError as exc:
        return Finding(False, "outbox", str(exc))
    if not counted.counts:
        return Finding(True, "outbox", "nothing dropped or ignored in the last day")
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(counted.counts.items()))
    fix = "the logs of the processes have details; docs/production-safety.md explains the reasons"
    return Finding(True, "outbox", f"in the last {console.rounded(counted.age)}: {counts}", fix)
