"""Read the state that a run leaves in Redis, without LiveCheck's own code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_BATCH: Final = 500


@dataclass
class SuiteSnapshot:
    """The keys of one case; attributes are named after them."""

    state: dict[str, str] = field(default_factory=dict)
    tests: dict[str, dict[str, str]] = field(default_factory=dict)
    signals: dict[str, dict[str, str]] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    runtime: list[float] = field(default_factory=list)
    frequency: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """The reports of executions, the earliest first."""
        return [report for report in self.reports if report.get("test") is not None]


@dataclass
class Snapshot:
    """The state of all cases.

    Attributes:
        suites: by name of the case.
        keys: TTL in seconds of every key in Redis; None for a key without one.
        pending_messages: messages that are queued or not acknowledged, by queue.
    """

    suites: dict[str, SuiteSnapshot]
    keys: dict[str, int | None]
    pending_messages: dict[str, int]


def take_snapshot(client: Any, cases: Sequence[str], prefix: str = "livecheck") -> Snapshot:
    """Read all keys of the state's Redis; ``pending_messages`` stays empty."""
    names = sorted(client.scan_iter(count=_BATCH))
    ttls = [one for some in _batches(client, names, "ttl") for one in some]
    keys = {name: None if ttl == -1 else ttl for name, ttl in zip(names, ttls, strict=True) if ttl != -2}  # noqa: PLR2004 - TTL's own
    return Snapshot({case: _suite(client, f"{prefix}:{{{case}}}:", names) for case in cases}, keys, {})


def attempts(client: Any, case: str, prefix: str = "livecheck") -> dict[str, int]:
    """Return how often each open test of a case was claimed, by id."""
    start = f"{prefix}:{{{case}}}:"
    ids = client.zrange(f"{start}open", 0, -1)
    pipeline = client.pipeline(transaction=False)
    for test_id in ids:
        pipeline.hget(f"{start}test:{test_id}", "attempts")
    return {test_id: int(times or 0) for test_id, times in zip(ids, pipeline.execute(), strict=True)}


def _suite(client: Any, start: str, names: Sequence[str]) -> SuiteSnapshot:
    return SuiteSnapshot(
        state=client.hgetall(f"{start}suite"),
        tests=_hashes(client, f"{start}test:", names),
        signals=_hashes(client, f"{start}signals:", names),
        reports=[json.loads(fields["report"]) for _, fields in client.xrange(f"{start}reports")],
        open=client.zrange(f"{start}open", 0, -1),
        runtime=_floats(client, f"{start}runtime"),
        frequency=_floats(client, f"{start}frequency"),
        latency=_floats(client, f"{start}latency"),
    )


def _hashes(client: Any, start: str, names: Sequence[str]) -> dict[str, dict[str, str]]:
    wanted = [name for name in names if name.startswith(start)]
    found = [one for some in _batches(client, wanted, "hgetall") for one in some]
    # An empty one has expired since the names were read.
    return {name.removeprefix(start): one for name, one in zip(wanted, found, strict=True) if one}


def _floats(client: Any, name: str) -> list[float]:
    return [float(item) for item in client.lrange(name, 0, -1)]


def _batches(client: Any, names: Sequence[str], command: str) -> Iterator[list[Any]]:
    for begin in range(0, len(names), _BATCH):
        pipeline = client.pipeline(transaction=False)
        for name in names[begin : begin + _BATCH]:
            getattr(pipeline, command)(name)
        yield pipeline.execute()
