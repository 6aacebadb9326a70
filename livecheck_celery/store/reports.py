"""Reports: a capped stream for each case."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, Final, cast

from pydantic import ValidationError

from livecheck_celery.models import REPORT, TestReport
from livecheck_celery.store.database import Part
from livecheck_celery.store.keys import UNKNOWN_CASE
from livecheck_celery.store.redis.cluster import Cluster
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: Seconds between two looks at streams that cannot be waited for.
_POLL: Final = 0.1

_Entry = tuple[str, Mapping[str, str]]


class Reports(Part):
    """Outcomes, for anybody to read."""

    def post_report(self, report: TestReport, *, unknown_case: bool = False) -> TestReport:
        """Post a report that belongs to no recorded execution; returned with ``at``.

        Of a case that nobody declared, ``unknown_case`` keeps the report where those of all such cases are.

        Raises:
            RedisUnavailable: Redis did not take it.
        """
        key = self.keys.reports(UNKNOWN_CASE if unknown_case else report.case_name)
        at = self._run(self._scripts.report, [key], [self._kept(report), self.settings.max_reports])
        return replace(report, at=float(at))

    def reports(self, case_names: Sequence[str] | None, *, count: int) -> list[TestReport]:
        """The last ``count`` reports of these cases, newest last; of None, all cases, undeclared ones included.

        One that cannot be read is logged and left out.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        streams = self._streams(case_names)
        if not streams or count < 1:
            return []
        pipeline = self.client.pipeline(transaction=False)
        for key in streams:
            pipeline.xrevrange(key, count=count)
        with self.reaching():
            replies = pipeline.execute()
        return _merged(zip(streams, replies, strict=True))[-count:]

    def follow(self, case_names: Sequence[str] | None, positions: dict[str, str], *, block: float) -> list[TestReport]:
        """Reports of these cases (None: all) since the last call, oldest first; waits up to ``block`` seconds for one.

        ``positions`` remembers, by case name, what has been read. Beginning with an empty one, only what comes after
        this call began is read, and of cases that appear later, everything. The wait is cut to half of what Redis
        may take to answer, so an empty list means: call again.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        streams = self._streams(case_names)
        if not streams:
            return []
        if not positions:
            positions.update(self._ends(streams))
        milliseconds = ceil(min(block, self._timeout / 2) * 1000)
        after = {key: positions.get(name, "0-0") for key, name in streams.items()}
        with self.reaching():
            replies: Any
            if isinstance(self.client, Cluster):
                replies = self._polled(after, milliseconds / 1000)
            else:
                replies = self.client.xread(cast("Any", after), block=milliseconds if milliseconds > 0 else None)
        for key, entries in replies:
            positions[streams[key]] = entries[-1][0]
        return _merged(replies)

    def _polled(self, after: Mapping[str, str], block: float) -> list[tuple[str, list[_Entry]]]:
        """What XREAD would reply: of streams on several servers, it reads none."""
        end = time.monotonic() + block
        while True:
            pipeline = self.client.pipeline(transaction=False)
            for key, position in after.items():
                pipeline.xrange(key, min=f"({position}")
            found = [one for one in zip(after, pipeline.execute(), strict=True) if one[1]]
            if found or time.monotonic() + _POLL > end:
                return found
            time.sleep(_POLL)

    def _streams(self, case_names: Sequence[str] | None) -> dict[str, str]:
        """Stream keys, and which case each is of."""
        if case_names is None:
            with self.reaching():
                declared: Any = self.client.hkeys(self.keys.cases)
            case_names = [*declared, UNKNOWN_CASE]
        return {self.keys.reports(name): name for name in case_names}

    def _ends(self, streams: Mapping[str, str]) -> dict[str, str]:
        """Where each case's stream ends now."""
        pipeline = self.client.pipeline(transaction=False)
        for key in streams:
            pipeline.xrevrange(key, count=1)
        with self.reaching():
            replies = pipeline.execute()
        return {
            name: entries[0][0] if entries else "0-0" for name, entries in zip(streams.values(), replies, strict=True)
        }


def _merged(replies: Iterable[tuple[str, Sequence[_Entry]]]) -> list[TestReport]:
    """Reports of several streams in the order Redis took them."""
    found = []
    for key, entries in replies:
        for entry_id, fields in entries:
            try:
                report = REPORT.validate_json(fields["report"])
            except (KeyError, ValidationError):
                logger.warning("Redis key %s, entry %s, holds something LiveCheck did not write", key, entry_id)
                continue
            milliseconds, number = entry_id.split("-")
            # Numbers tell entries of one stream apart; of several streams in one millisecond, only the time does.
            found.append((int(milliseconds), report.at or 0.0, int(number), report))
    return [report for *_, report in sorted(found, key=lambda entry: entry[:3])]
