"""Spread the periodic work of many processes."""

from __future__ import annotations

from typing import Final

from livecheck_celery.utils.own_random import OWN

#: Maximum share of a period by which it is shorter or longer.
SHARE: Final = 0.2


def around(seconds: float) -> float:
    """Return a random time around ``seconds``, which is the mean.

    Processes that a deploy starts together, or that an outage of Redis ends together, do not keep in step.
    """
    return seconds * OWN.uniform(1 - SHARE, 1 + SHARE)
