"""Spread the periodic work of many processes."""

from __future__ import annotations

import random
from typing import Final

#: Maximum share of a period by which it is shorter or longer.
SHARE: Final = 0.2


def around(seconds: float) -> float:
    """Return a random time around ``seconds``, which is the mean.

    Processes that a deploy starts together, or that an outage of Redis ends together, do not keep in step.
    """
    return seconds * random.uniform(1 - SHARE, 1 + SHARE)  # noqa: S311 - no secret
