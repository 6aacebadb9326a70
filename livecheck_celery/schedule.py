"""Beat entries: fake requests, stalled checks and recovery, in plain sight in ``app.conf.beat_schedule``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from celery.schedules import BaseSchedule
from celery.schedules import schedule as interval

if TYPE_CHECKING:
    from livecheck_celery.case import Case
    from livecheck_celery.config import Settings

from livecheck_celery.publisher import CASE_KEYWORD

FAKE_REQUEST: Final = "livecheck.fake_request"
STALLED: Final = "livecheck.stalled"
RECOVER: Final = "livecheck.recover"

#: The sweep's period, as a share of the time in which a test is to run again; a lease has three of these shares.
RECOVER_SHARE: Final = 1 / 5
#: A stalled suite is noticed within a quarter of the time allowed, and half a minute.
_STALLED_SHARE: Final = 4
_STALLED_AT_MOST: Final = 30.0


def case_entries(case: Case, settings: Settings) -> dict[str, dict[str, Any]]:
    """The beat entries of ``case``."""
    check_every = min(case.warn_stalled_after / _STALLED_SHARE, _STALLED_AT_MOST)
    entries = {f"livecheck:{case.name}:stalled": _entry(STALLED, check_every, check_every, settings, case)}
    if case.frequency is not None:
        expires = period_of(case.frequency)
        entries[f"livecheck:{case.name}:frequency"] = _entry(FAKE_REQUEST, case.frequency, expires, settings, case)
    return entries


def common_entries(settings: Settings) -> dict[str, dict[str, Any]]:
    """The beat entries there are once for all cases."""
    every = settings.recover_within * RECOVER_SHARE
    return {"livecheck:recover": _entry(RECOVER, every, every, settings)}


def period_of(schedule: float | BaseSchedule) -> float:
    """Seconds between two runs; of a Celery schedule, those between the next two."""
    if not isinstance(schedule, BaseSchedule):
        return schedule
    if isinstance(schedule, interval):
        return float(schedule.seconds)
    now = schedule.now()
    following = schedule.remaining_estimate(now)
    # Just after the next run, since estimates are a few microseconds short.
    after_that = schedule.remaining_estimate(now + following + timedelta(seconds=1))
    return max(1.0, (after_that - following).total_seconds())


def _entry(
    task: str, schedule: float | BaseSchedule, expires: float, settings: Settings, case: Case | None = None
) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": schedule,
        "kwargs": {CASE_KEYWORD: case.name} if case else {},
        # A message that waited for longer than its period is dropped: the next one is there already.
        "options": {"queue": settings.schedule_queue, "expires": expires, "ignore_result": True},
    }
