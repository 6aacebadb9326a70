"""Beat entries: fake requests, the stalled check, recovery and the heartbeat, in ``app.conf.beat_schedule``."""

from __future__ import annotations

import math
from collections.abc import Iterable, MutableMapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from celery.schedules import BaseSchedule
from celery.schedules import schedule as interval

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case
    from livecheck_celery.config import Settings

from livecheck_celery.delivery.publisher import CASE_KEYWORD
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.tasks.heartbeat import EVERY as HEARTBEAT_EVERY

FAKE_REQUEST: Final = "livecheck.fake_request"
STALLED: Final = "livecheck.stalled"
RECOVER: Final = "livecheck.recover"
HEARTBEAT: Final = "livecheck.heartbeat"
#: What every entry's name begins with.
OURS: Final = "livecheck:"

#: The sweep's period, as a share of the time in which a test is to run again; a lease has three of these shares.
RECOVER_SHARE: Final = 1 / 5
#: A stalled suite is noticed within a quarter of the time allowed, and half a minute.
_STALLED_SHARE: Final = 4
_STALLED_AT_MOST: Final = 30.0
#: django-celery-beat keeps whole seconds, and would never rest on an entry of none.
_STALLED_AT_LEAST: Final = 1.0
#: Seconds by which the clocks of beat, workers and Redis may differ; of a crontab, runs are a minute apart.
_SKEW: Final = 5.0


def case_entries(case: Case, settings: Settings) -> dict[str, dict[str, Any]]:
    """The beat entries of ``case``."""
    if case.frequency is None:
        return {}
    expires = period_of(case.frequency)
    return {f"{OURS}{case.name}:frequency": _entry(FAKE_REQUEST, case.frequency, expires, settings, case)}


def common_entries(settings: Settings, cases: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """The beat entries there are once for all ``cases``."""
    allowed = min((case.warn_stalled_after / _STALLED_SHARE for case in cases), default=_STALLED_AT_MOST)
    stalled = max(_STALLED_AT_LEAST, min(allowed, _STALLED_AT_MOST))
    recover = settings.recover_within * RECOVER_SHARE
    entries = {
        f"{OURS}recover": _entry(RECOVER, recover, recover, settings),
        f"{OURS}stalled": _entry(STALLED, stalled, stalled, settings),
    }
    if settings.heartbeat_url is not None:
        entries[f"{OURS}heartbeat"] = _entry(HEARTBEAT, HEARTBEAT_EVERY, HEARTBEAT_EVERY, settings)
    return entries


def put(
    entries: dict[str, dict[str, Any]], schedule: MutableMapping[str, Any], given: MutableMapping[str, Any]
) -> None:
    """Put ``entries`` into beat's ``schedule``, except where the host has changed what was ``given`` before."""
    for name, entry in entries.items():
        if name not in schedule or (name in given and schedule[name] == given[name]):
            schedule[name] = entry
            given[name] = {**entry}  # a copy, as hosts change entries in place


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


def slot_of(schedule: float | BaseSchedule) -> Window:
    """The time that a run which is made now has.

    Half a period early is allowed of an interval, so that a beat which ticks unevenly keeps its rate. Other schedules
    say when runs come; there only the clocks may differ.
    """
    period = period_of(schedule)
    if not isinstance(schedule, BaseSchedule) or isinstance(schedule, interval):
        return Window(period, period / 2)
    early = min(_SKEW, period / 2)
    now = schedule.now()
    following = schedule.remaining_estimate(now + timedelta(seconds=early))
    return Window(max(following.total_seconds(), early), early)


def _entry(
    task: str, schedule: float | BaseSchedule, expires: float, settings: Settings, case: Case | None = None
) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": schedule,
        "kwargs": {CASE_KEYWORD: case.name} if case else {},
        "options": {
            "queue": settings.schedule_queue,
            # A message that waited for longer than its period is dropped: the next one is there already.
            "expires": expires,
            # The same, for django-celery-beat, which knows no "expires"; to Celery it means nothing.
            "expire_seconds": math.ceil(expires),
        },
    }
