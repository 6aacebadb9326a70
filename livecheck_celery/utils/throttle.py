"""Says the same thing at most once a minute, however many requests go wrong."""

from __future__ import annotations

import time
from typing import Final

EVERY: Final = 60.0


class Throttle:
    """Tells whether a reason may be said now."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, reason: str) -> bool:
        """Whether ``reason`` was not let through in the last minute; it counts as said then."""
        now = time.monotonic()
        if now - self._said.get(reason, -EVERY) < EVERY:
            return False
        self._said[reason] = now
        return True
