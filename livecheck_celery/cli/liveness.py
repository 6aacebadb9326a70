"""Warnings about a beat, or workers, that have been silent for too long."""

from __future__ import annotations

from typing import Final

from livecheck_celery.store.liveness import SignsOfLife

#: Seconds without a sign of life after which beat, or the workers on the schedule queue, count as silent. Both are
#: active every few seconds.
MAX_SILENCE: Final = 60.0


def is_silent(age: float | None) -> bool:
    """Return whether the last sign of life, ``age`` seconds ago or None, is too old."""
    return age is None or age > MAX_SILENCE


def silence_warnings(signs: SignsOfLife) -> list[str]:
    """Return a warning if beat or the workers are silent, as a list of at most one sentence."""
    if is_silent(signs.beat):
        return ["Beat is silent: no fake requests, stall checks or recovery until it runs; see `livecheck doctor`."]
    if is_silent(signs.schedules):
        return ["No worker executes the tasks that beat sends; see `livecheck doctor`."]
    return []
