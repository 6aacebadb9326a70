"""What is left of a run in the state's Redis, as it is, without asking LiveCheck."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_BATCH: Final = 500


@dataclass
class Suite:
    """What there is of one case; names are those of the keys."""

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
        return [report for report in self.reports if report["test"] is not None]


@dataclass
class Evidence:
    """All there is.

    Attributes:
        suites: by name of the case.
        keys: every key in the state's Redis, with the seconds it has to live; None when it stays.
        waiting: messages that nobody has taken or acknowledged, by queue.
    """

    suites: dict[str, Suite]
    keys: dict[str, int | None]
    waiting: dict[str, int]


def gather(client: Any, cases: Sequence[str], prefix: str = "livecheck") -> Evidence:
    """Read everything that ``client``, of the state's Redis, has."""
    names = sorted(client.scan_iter(count=_BATCH))
    lives = [one for some in _batches(client, names, "ttl") for one in some]
    keys = {name: None if life == -1 else life for name, life in zip(names, lives, strict=True) if life != -2}  # noqa: PLR2004 - TTL's own
    return Evidence({case: _suite(client, f"{prefix}:{{{case}}}:", names) for case in cases}, keys, {})


def attempts(client: Any, case: str, prefix: str = "livecheck") -> dict[str, int]:
    """How often each open test of a case has been claimed."""
    start = f"{prefix}:{{{case}}}:"
    ids = client.zrange(f"{start}open", 0, -1)
    pipeline = client.pipeline(transaction=False)
    for test_id in ids:
        pipeline.hget(f"{start}test:{test_id}", "attempts")
    return {test_id: int(times or 0) for test_id, times in zip(ids, pipeline.execute(), strict=True)}


def _suite(client: Any, start: str, names: Sequence[str]) -> Suite:
    return Suite(
        state=client.hgetall(f"{start}state"),
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
    # One that is empty was forgotten just now.
    return {name.removeprefix(start): one for name, one in zip(wanted, found, strict=True) if one}


def _floats(client: Any, name: str) -> list[float]:
    return [float(item) for item in client.lrange(name, 0, -1)]


def _batches(client: Any, names: Sequence[str], command: str) -> Iterator[list[Any]]:
    for begin in range(0, len(names), _BATCH):
        pipeline = client.pipeline(transaction=False)
        for name in names[begin : begin + _BATCH]:
            getattr(pipeline, command)(name)
        yield pipeline.execute()
