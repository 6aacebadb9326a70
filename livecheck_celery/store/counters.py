"""Counters of dropped items and ignored headers of all processes, by reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from livecheck_celery.store.database import Database, as_dict, readable
from livecheck_celery.store.scripts import Script

#: Seconds after which counting starts again.
COUNTERS_TTL: Final = 24 * 3600

ADD_COUNTS: Final = Script("add_counts", keys=("counters",), args=("ttl", "*counts"))


class Counts(NamedTuple):
    """Counts of all processes.

    Attributes:
        age: seconds since counting began, less than a day.
        counts: by reason.
    """

    age: float
    counts: Mapping[str, int]


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
        self._database.run(ADD_COUNTS(counters=self._database.keys.counters, ttl=COUNTERS_TTL, counts=added))

    def read(self) -> Counts:
        """Read the counters of all processes.

        Raises:
            UnreadableData: a stored value cannot be parsed.
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.counters
        now, [found] = self._database.read(key)

        def parse() -> Counts:
            counts = as_dict(found)
            since = float(counts.pop("since", now))
            return Counts(max(0.0, int(now) - since), {reason: int(count) for reason, count in counts.items()})

        return readable(key, parse)
