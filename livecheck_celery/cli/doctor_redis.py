"""What ``doctor`` says of how a Redis keeps its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Remark(NamedTuple):
    """Whether it is well, what was found, and the mend."""

    well: bool
    found: str
    mend: str = ""


def judge_storage(memory: Mapping[str, Any], persistence: Mapping[str, Any]) -> Iterator[Remark]:
    """What is to be said of these sections of Redis' INFO; of what they leave out, nothing."""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    limit = int(memory.get("maxmemory", 0))
    if policy != "noeviction":
        found = f"maxmemory-policy is {policy}"
        if limit:
            what = f"{found}: when {limit / 2**20:.0f} MiB are full, Redis drops running tests and counters"
            yield Remark(False, what, "set maxmemory-policy noeviction, or use another Redis")
        else:
            yield Remark(True, f"{found}, which matters once there is a maxmemory", "noeviction is the right one")
    if persistence.get("aof_enabled", 1) in (0, "0"):
        yield Remark(True, "appendonly is off, so a restart loses tests and counters", "docs/servers.md says how much")
