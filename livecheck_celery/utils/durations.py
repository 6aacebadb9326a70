"""Durations: numbers of seconds, timedeltas, and texts such as ``"30s"``, ``"5m"`` or ``"3h"``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any, Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MILLISECOND: Final = 0.001
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", re.ASCII)


def seconds(value: Any) -> Any:
    """Convert a number, a timedelta, or a string such as ``"30s"``, ``"5m"`` or ``"3h"`` to seconds.

    Other values are returned unchanged, for the model to validate.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _UNITS[match[2]]
    return value


def duration(value: Any) -> float:
    """Convert a value to a finite number of seconds.

    Raises:
        ValueError: the value is not a duration.
    """
    try:
        converted = float(seconds(value))
    except (TypeError, ValueError, OverflowError):
        converted = math.nan
    if not math.isfinite(converted) or isinstance(value, bool):
        raise ValueError("must be a finite number of seconds, a timedelta, or text such as '30s', '5m' or '3h'")
    return converted


def optional_duration(value: Any) -> float | None:
    """Convert a value as `duration` does, except None."""
    return None if value is None else duration(value)


def in_seconds(value: float) -> str:
    """Format seconds with milliseconds, or with microseconds if there are less: ``0.012 s``, ``0.000250 s``."""
    return f"{value:.6f} s" if 0 < value < _MILLISECOND else f"{value:z.3f} s"
