"""Reports: a capped stream for each case."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, Final, cast

from livecheck_celery.errors import UnreadableKey
from livecheck_celery.models import REPORT, TestReport
from livecheck_celery.store.database import REPORT_LIMITS, Database
from livecheck_celery.store.encoding import is_left
from livecheck_celery.store.keys import UNKNOWN_CASE
from livecheck_celery.store.redis.cluster import Cluster
from livecheck_celery.store.scripts import Script

POST_REPORT: Final = Script("post_report", keys=("reports",), args=("report", *REPORT_LIMITS))

#: Seconds between two reads of the streams of a cluster, where XREAD cannot block on several servers.
_POLL: Final = 0.1

#: Longest name of a case that is not registered, in characters.
MAX_UNKNOWN: Final = 200

_Entry = tuple[str, Mapping[str, str]]


class Reports:
    """Reports of executions and suites."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def post(self, report: TestReport, *, unknown_case: bool = False) -> TestReport:
        """Post a report that belongs to no recorded execution, and return it with ``at``.

        With ``unknown_case``, the report goes to the one stream of all cases that are not registered, with at most 200
        characters of the name.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        if unknown_case:
            report = replace(report, case_name=report.case_name[:MAX_UNKNOWN])
        call = POST_REPORT(
            reports=self._database.keys.reports(UNKNOWN_CASE if unknown_case else report.case_name),
            report=self._database.report_json(report),
            **self._database.report_limits,
        )
        return replace(report, at=float(self._database.run(call)))

    def latest(self, case_names: Sequence[str] | None, *, count: int) -> list[TestReport]:
        """Return the last ``count`` reports of these cases, newest last; None means all cases, also unregistered ones.

        A report that cannot be parsed is skipped.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        streams = self._streams(case_names)
        if not streams or count < 1:
            return []
        pipeline = self._database.pipeline()
        for key in streams:
            pipeline.xrevrange(key, count=count)
        replies = self._database.execute_each(pipeline, list(streams))
        return self._merged(zip(streams, replies, strict=True))[-count:]

    def follow(self, case_names: Sequence[str] | None, positions: dict[str, str], *, block: float) -> list[TestReport]:
        """Return the reports since the last call, oldest first; wait up to ``block`` seconds for one.

        The wait is at most half of the timeout of Redis, so call again after an empty list.

        Args:
            case_names: names of the cases; None for all.
            positions: id of the last report read, by case name or key of a stream; updated by each call. If it is
                empty, reading starts at the end of the streams; of a case that appears in a later call, all are read.
            block: seconds.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        streams = self._streams(case_names)
        if not streams:
            return []
        if not positions:
            positions.update(self._ends(streams))
        milliseconds = ceil(min(block, self._database.timeout / 2) * 1000)
        after = {key: positions.get(name, "0-0") for key, name in streams.items()}
        client = self._database.client
        with self._database.errors_translated():
            replies: Any
            if isinstance(client, Cluster):
                replies = self._polled(after, milliseconds / 1000)
            else:
                replies = self._blocking(after, milliseconds)
        for key, entries in replies:
            positions[streams[key]] = entries[-1][0]
        return self._merged(replies)

    def _blocking(self, after: Mapping[str, str], milliseconds: int) -> Any:
        block = milliseconds if milliseconds > 0 else None
        try:
            with self._database.errors_translated():
                return self._database.client.xread(cast("Any", after), block=block)
        except UnreadableKey:
            # One command reads all streams; a poll reads each by itself.
            return self._polled(after, milliseconds / 1000)

    def _polled(self, after: Mapping[str, str], block: float) -> list[tuple[str, list[_Entry]]]:
        """Poll streams that may be on several servers; return a reply like XREAD's."""
        end = time.monotonic() + block
        while True:
            pipeline = self._database.pipeline()
            for key, position in after.items():
                pipeline.xrange(key, min=f"({position}")
            replies = self._database.execute_each(pipeline, list(after))
            found = [one for one in zip(after, replies, strict=True) if one[1]]
            if found or time.monotonic() + _POLL > end:
                return found
            time.sleep(_POLL)

    def _streams(self, case_names: Sequence[str] | None) -> dict[str, str]:
        """Return the name of the position in each stream, by key: that of the case, or for late reports the key."""
        if case_names is None:
            pipeline = self._database.pipeline()
            pipeline.hkeys(self._database.keys.cases)
            [registered] = self._database.execute_each(pipeline, [self._database.keys.cases])
            case_names = [*(registered or ()), UNKNOWN_CASE]
        keys = self._database.keys
        late = {key: key for key in map(keys.late, case_names)}
        return {**{keys.reports(name): name for name in case_names}, **late}

    def _ends(self, streams: Mapping[str, str]) -> dict[str, str]:
        """Return the id of the last entry of each stream, by case name."""
        pipeline = self._database.pipeline()
        for key in streams:
            pipeline.xrevrange(key, count=1)
        replies = self._database.execute_each(pipeline, list(streams))
        return {
            name: entries[0][0] if entries else "0-0" for name, entries in zip(streams.values(), replies, strict=True)
        }

    def _merged(self, replies: Iterable[tuple[str, Sequence[_Entry] | None]]) -> list[TestReport]:
        """Parse the reports of several streams, and sort them by their time in Redis."""
        found = []
        for key, entries in replies:
            for entry_id, fields in entries or ():
                if is_left(fields.get("report", "")):
                    continue
                try:
                    report = REPORT.validate_json(fields["report"])
                except (KeyError, ValueError) as exc:
                    self._database.unreadable.skip(key, type(exc).__name__, field=entry_id)
                    continue
                milliseconds, number = entry_id.split("-")
                # The number orders entries of one stream only; across streams, the reports' time orders one
                # millisecond.
                found.append((int(milliseconds), report.at or 0.0, int(number), report))
        return [report for *_, report in sorted(found, key=lambda entry: entry[:3])]
