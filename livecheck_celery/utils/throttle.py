"""Limit log lines to one per key per minute."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any, Final

EVERY: Final = 60.0
#: Keys with a line in the last minute; further ones share a key, since keys can come from outside.
MAX_KEYS: Final = 100
_OTHERS: Final = "others"


class Throttle:
    """Allow one log line per key per minute, and count the others."""

    def __init__(self) -> None:
        self._logged_at: dict[str, tuple[float, object]] = {}
        self._lines: Counter[str] = Counter()

    def __call__(self, key: str) -> int:
        """Return the number of lines that one for ``key`` stands for, itself included; 0 if none may be logged now."""
        now = time.monotonic()
        if key not in self._logged_at and len(self._logged_at) >= MAX_KEYS:
            self._logged_at = {name: last for name, last in self._logged_at.copy().items() if now - last[0] < EVERY}
            key = key if len(self._logged_at) < MAX_KEYS else _OTHERS
        self._lines[key] += 1
        this = (now, object())
        last = self._logged_at.setdefault(key, this)  # atomic: of threads that fail at the same time, one logs
        if last is not this and now - last[0] < EVERY:
            return 0
        self._logged_at[key] = this
        return self._lines.pop(key, 1)

    def left_out(self) -> dict[str, int]:
        """Return the number of lines that no line stands for yet, by key, and forget them."""
        lines, self._lines = self._lines, Counter()
        return dict(lines)


class ThrottledLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that logs each message once a minute, with the number of lines that it has left out since.

    For what can fail for each test, message or signal. A message is the text before its arguments are inserted, or
    the option ``key`` of a call.
    """

    #: Shared, so that all loggers and threads of this process count a message together.
    lines = Throttle()

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log ``msg % args``, unless a line of this message was logged in the last minute."""
        if times := self.lines(options.pop("key", str(msg))):
            more = f" (and {times - 1} more since the last such line)" if times > 1 else ""
            super().log(level, f"{msg}{more}", *args, stacklevel=2, **options)
