"""Beat entries: fake requests, the stalled check, recovery and the heartbeat, in ``app.conf.beat_schedule``."""

from __future__ import annotations

import math
from collections.abc import Iterable, MutableMapping
from copy import copy
from datetime import datetime, timedelta
from typing import Any, Final

from celery import Celery
from celery.schedules import BaseSchedule
from celery.schedules import schedule as interval

from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.config import Settings
from livecheck_celery.delivery.publisher import addressed
from livecheck_celery.store.schedule_runs import Window

FAKE_REQUEST: Final = "livecheck.fake_request"
STALLED: Final = "livecheck.stalled"
RECOVER: Final = "livecheck.recover"
HEARTBEAT: Final = "livecheck.heartbeat"
#: Prefix of the names of LiveCheck's entries.
PREFIX: Final = "livecheck:"

#: Seconds between heartbeats.
HEARTBEAT_EVERY: Final = 60.0
#: Period of the sweep as a share of ``recover_within``; a lease is three of these shares.
RECOVER_SHARE: Final = 1 / 5
#: A stalled suite is detected within this share of its limit, and within half a minute.
_STALLED_SHARE: Final = 1 / 4
_STALLED_AT_MOST: Final = 30.0
#: django-celery-beat stores whole seconds; an entry of zero seconds would run without pause.
_STALLED_AT_LEAST: Final = 1.0
#: Maximum difference between the clocks of beat, workers and Redis, in seconds; runs of a crontab are a minute apart.
_SKEW: Final = 5.0


class BeatSchedule:
    """LiveCheck's entries in the beat schedule of one Celery app; the host's own entries do not change."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        #: The shortest ``warn_stalled_after`` of all cases so far, in seconds.
        self._stall_limit = math.inf
        self._added: dict[str, Any] = {}

    def lacks(self, case: BaseCase) -> bool:
        """Return whether `add` would add an entry for ``case``, or change a common one."""
        return case.frequency is not None or case.warn_stalled_after < self._stall_limit

    def add(self, cases: Iterable[BaseCase], settings: Settings) -> None:
        """Add the entries of ``cases``, and those common to all cases.

        Adding one case takes constant time, regardless of the number of cases.
        """
        cases = list(cases)
        self._stall_limit = min([self._stall_limit, *(case.warn_stalled_after for case in cases)])
        entries = common_entries(settings, self._stall_limit)
        for case in cases:
            entries.update(case_entries(case, settings))
        put(entries, self._app.conf.beat_schedule, self._added)


def case_entries(case: BaseCase, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the beat entries of ``case``."""
    if case.frequency is None:
        return {}
    expires = period_of(case.frequency)
    return {f"{PREFIX}{case.name}:frequency": _entry(FAKE_REQUEST, case.frequency, expires, settings, case)}


def common_entries(settings: Settings, stall_limit: float) -> dict[str, dict[str, Any]]:
    """Return the beat entries common to all cases; ``stall_limit`` is their shortest limit in seconds."""
    stalled = max(_STALLED_AT_LEAST, min(stall_limit * _STALLED_SHARE, _STALLED_AT_MOST))
    recover = settings.recover_within * RECOVER_SHARE
    entries = {
        f"{PREFIX}recover": _entry(RECOVER, recover, recover, settings),
        f"{PREFIX}stalled": _entry(STALLED, stalled, stalled, settings),
    }
    if settings.heartbeat_url is not None:
        entries[f"{PREFIX}heartbeat"] = _entry(HEARTBEAT, HEARTBEAT_EVERY, HEARTBEAT_EVERY, settings)
    return entries


def put(
    entries: dict[str, dict[str, Any]], schedule: MutableMapping[str, Any], added: MutableMapping[str, Any]
) -> None:
    """Put ``entries`` into beat's ``schedule``, except those the host has changed since they were ``added``."""
    for name, entry in entries.items():
        if name not in schedule or (name in added and schedule[name] == added[name]):
            schedule[name] = entry
            added[name] = {**entry}  # a copy, since hosts change entries in place


def period_of(schedule: float | BaseSchedule) -> float:
    """Return the seconds between two runs; for a Celery schedule, between the next two runs."""
    if not isinstance(schedule, BaseSchedule):
        return schedule
    if isinstance(schedule, interval):
        return float(schedule.seconds)
    now = schedule.now()
    # A second after the next run, since estimates are a few microseconds short.
    following = _until_next_run(schedule, now) + timedelta(seconds=1)
    after_that = timedelta(seconds=1) + _until_next_run(schedule, now + following)
    return max(1.0, after_that.total_seconds())


def window_of(schedule: float | BaseSchedule) -> Window:
    """Return the time window of a run made now.

    A run of an interval can be half a period early, so that an unevenly ticking beat keeps its rate. Other schedules
    define the time of a run; there the window only allows for clock skew.
    """
    period = period_of(schedule)
    if not isinstance(schedule, BaseSchedule) or isinstance(schedule, interval):
        return Window(period, period / 2)
    early = min(_SKEW, period / 2)
    following = early + _until_next_run(schedule, schedule.now() + timedelta(seconds=early)).total_seconds()
    return Window(max(following, early), early)


def _until_next_run(schedule: BaseSchedule, moment: datetime) -> timedelta:
    """Return the time from ``moment`` to the next run of a schedule."""
    # Older versions of Celery assume that the moment is not after the schedule's clock.
    then: Any = copy(schedule)  # celery-types calls ``nowfun`` another name
    then.app, then.nowfun = schedule.app, lambda: moment
    remaining: timedelta = then.remaining_estimate(moment)
    return remaining


def _entry(
    task: str, schedule: float | BaseSchedule, expires: float, settings: Settings, case: BaseCase | None = None
) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": schedule,
        "kwargs": addressed(case.name, settings.prefix) if case is not None else {},
        "options": {
            "queue": settings.schedule_queue,
            # A message older than its period is dropped: the next one is queued already.
            "expires": expires,
            # The same for django-celery-beat, which ignores "expires"; Celery ignores this one.
            "expire_seconds": math.ceil(expires),
        },
    }
