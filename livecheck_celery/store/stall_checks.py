"""Which suites a stalled check looks at, so that a check of thousands of cases need not look at each.

The times of all checks are in another cluster slot than the suites, so the two are not written in one step: only the
suite decides. A case is passed over while its silence, as the last look at its suite has measured it, is within the
limit, and its last check is recent. A test that was received since then only makes the silence shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from livecheck_celery.store.database import Database
from livecheck_celery.store.scripts import Script

DUE_CHECKS: Final = Script("due_checks", keys=("checks",), args=("everything", "*cases"))

#: Cases of one call, which blocks Redis for about a millisecond.
_BATCH: Final = 1000


class StallChecks:
    """Times of the stalled checks of all cases; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, cases: Mapping[str, float], *, everything: bool = False) -> dict[str, str | None]:
        """Return the cases to look at, and the Redis time of the last check of each, if it is known.

        The others are checked with this call, in one round trip.

        Args:
            cases: ``warn_stalled_after`` of each case.
            everything: whether to return all of them.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        key, parts = self._database.keys.checks, [part for one in cases.items() for part in one]
        calls = [
            DUE_CHECKS(checks=key, everything=everything, cases=parts[start : start + 2 * _BATCH])
            for start in range(0, len(parts), 2 * _BATCH)
        ]
        replies = self._database.run_all(calls, raise_on_error=False)
        found = self._database.without_unreadable([key] * len(calls), replies)
        if None in found:  # the key has another type
            return dict.fromkeys(cases)
        return {name: at or None for reply in found for name, at in zip(reply[::2], reply[1::2], strict=True)}

    def note(self, checked: Mapping[str, tuple[str, str]]) -> None:
        """Note for cases at which a check has looked its time, and the time from which their silence counts.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        if checked:
            key = self._database.keys.checks
            pipeline = self._database.pipeline()
            pipeline.hset(key, mapping={name: f"{at} {since}" for name, (at, since) in checked.items()})
            self._database.execute_each(pipeline, [key])
