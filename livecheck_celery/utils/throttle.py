"""Limit log lines to one per key per minute."""

from __future__ import annotations

import time
from typing import Final

EVERY: Final = 60.0


class Throttle:
    """Allow one log line per key per minute."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}

    def __call__(self, key: str) -> bool:
        """Return whether a line for ``key`` may be logged now, and count it as logged."""
        now = time.monotonic()
        if now - self._logged_at.get(key, -EVERY) < EVERY:
            return False
        self._logged_at[key] = now
        return True
