"""Counters of dropped items and ignored headers of all processes, by reason, and by service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Final, NamedTuple

from livecheck_celery.store.database import Database, as_dict
from livecheck_celery.store.scripts import Script
from livecheck_celery.store.unreadable import parse

#: Seconds after which counting starts again.
COUNTERS_TTL: Final = 24 * 3600

#: Number of reasons that are counted, over all services.
MAX_REASONS: Final = 1000
#: Prefix of a reason in the name of the field with the time of its last count.
_LAST: Final = "@"
#: Field with the time when counting began.
_SINCE: Final = "since"
#: What a service counts of the tests that others sent; for those that it sent, see `UNACKNOWLEDGED` and `OLD_MARK`.
IGNORED: Final = "ignored"
#: What a service counts of the automatic signals in Redis: sources that it does not allow.
REFUSED: Final = "refused"
#: What a service counts of the shared configuration: fields that no key of the service has signed.
UNTRUSTED: Final = "untrusted"

#: Reason: messages of another environment, which came to this one's queues.
FOREIGN: Final = "foreign messages"
#: Reason: messages of tests that recovery sent again, as no worker had them.
RESENT: Final = "messages sent again"

#: Reason: tests that had to wait, since their case ran more tests than its share.
PUT_OFF: Final = "tests put off"

ADD_COUNTS: Final = Script("add_counts", keys=("counters",), args=("ttl", "limit", "*counts"))


class ServiceCount(NamedTuple):
    """What one service counted.

    Attributes:
        what: `IGNORED`, headers of requests to the service; `UNACKNOWLEDGED`, requests of the service that carried a
            test, and were answered without an acknowledgement; or `OLD_MARK`, requests of the service that descend from
            a fake request which began too long ago for the receiver to know it.
        service: name of the service.
        detail: the reason; or the host that the request was sent to.
        times: how many.
        age: seconds since the last one.
    """

    what: str
    service: str
    detail: str
    times: int = 0
    age: float = 0.0

    @property
    def field(self) -> str:
        """Name of the counter."""
        return json.dumps(self[:3])


class Counts(NamedTuple):
    """Counts of all processes.

    Attributes:
        age: seconds since counting began, less than a day.
        counts: by reason.
        ages: seconds since the last count, by reason.
        services: by service.
    """

    age: float
    counts: Mapping[str, int]
    ages: Mapping[str, float]
    services: tuple[ServiceCount, ...] = ()


class Counters:
    """Counts of the last day, by reason."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counts: Mapping[str, int]) -> None:
        """Add ``counts``, by reason, to the counters of all processes.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        added = [part for reason, count in counts.items() for part in (reason, count)]
        counters = self._database.keys.counters
        self._database.run(ADD_COUNTS(counters=counters, ttl=COUNTERS_TTL, limit=MAX_REASONS, counts=added))

    def read(self) -> Counts:
        """Read the counters of all processes; those that cannot be parsed are skipped.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.counters
        now, [found] = self._database.read({key: "hash"})
        fields = as_dict(found or ())
        counts: dict[str, int] = {}
        ages: dict[str, float] = {}
        services = []
        for reason, count in fields.items():
            if reason == _SINCE or reason.startswith(_LAST):
                continue
            try:
                times, age = int(count), _age(now, fields.get(_LAST + reason, now))
                if reason.startswith("["):
                    services.append(_service_count(reason, times, age))
                else:
                    counts[reason], ages[reason] = times, age
            except ValueError as exc:
                self._database.unreadable.skip(key, exc, field=reason)
        try:
            since = _age(now, fields.get(_SINCE, now))
        except ValueError as exc:
            self._database.unreadable.skip(key, exc, field=_SINCE)
            since = 0.0
        return Counts(since, counts, ages, tuple(sorted(services)))


def _age(now: float, time: str | float) -> float:
    age = now - float(time)
    if not isfinite(age):
        raise ValueError(f"{time} is not a time")
    return max(0.0, age)


def _service_count(field: str, times: int, age: float) -> ServiceCount:
    what, service, detail = parse(field)
    return ServiceCount(str(what), str(service), str(detail), times, age)
