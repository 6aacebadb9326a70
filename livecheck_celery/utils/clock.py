"""The time of Redis, as far as a process knows it, since the clocks of machines can differ by hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

#: Differences up to this many seconds are ignored: they are as short as the delays of messages.
TOLERANCE: Final = 1.0


class _Clock:
    offset = timedelta(0)


def now() -> datetime:
    """Return the time of Redis, estimated from the clock of this machine and its last known offset."""
    offset = _Clock.offset
    return datetime.now(UTC) - offset if offset else datetime.now(UTC)


def adjust(offset: float | None) -> None:
    """Note that the clock of this machine is ``offset`` seconds ahead of Redis; None if that was not measured."""
    if offset is not None:
        _Clock.offset = timedelta(seconds=offset if abs(offset) > TOLERANCE else 0)
