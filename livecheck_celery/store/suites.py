"""Suites: the state of each case over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import State, TestReport
from livecheck_celery.store.database import REPORT_LIMITS, Database, as_dict
from livecheck_celery.store.keys import Keys
from livecheck_celery.store.redis.cluster import Cluster
from livecheck_celery.store.scripts import Script
from livecheck_celery.store.stall_checks import StallChecks
from livecheck_celery.store.statistics import (
    STATUS_FIELDS,
    Statistics,
    read_statistics,
    read_status,
    readable_fields,
    readable_numbers,
)

FAIL_SUITE: Final = Script(
    "fail_suite", keys=("suite", "reports"), args=("status", "delay", "report", *REPORT_LIMITS, "token")
)
SERVICE_RECOVERED: Final = Script("service_recovered", keys=("suite",), args=("delay",))
STALLED: Final = Script("stalled", keys=("suite",), args=("warn_stalled_after", "report", "checked_at"))

#: In place of the fields of a suite whose key has another type.
_UNREADABLE: Final = {"status": State.ERROR.value}


class Health(NamedTuple):
    """Statuses of the cases, and the delay of the sweep.

    Attributes:
        statuses: status of the suite of each case.
        overdue: seconds by which the sweep is late for the execution that has waited longest.
        failing: cases of which too many tests fail, whatever the status is.
    """

    statuses: Mapping[str, State]
    overdue: float
    failing: frozenset[str] = frozenset()


class Suites:
    """State of each case over time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.stall_checks = StallChecks(database)

    def fail(
        self, case_name: str, *, state: State, report: TestReport, state_transition_delay: float, token: str
    ) -> bool:
        """Record that the suite failed, and set its status to ``state``.

        A repeated call with the same ``token``, which is unique to this failure, gets the same reply.

        Returns:
            True if the failure is new: the status was INIT, PASS or SKIP, or the last failure is older than
            ``state_transition_delay`` seconds. The report of a new failure is posted.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        call = FAIL_SUITE(
            suite=self._database.keys.suite(case_name),
            reports=self._database.keys.reports(case_name),
            status=state.value,
            delay=state_transition_delay,
            report=self._database.report_json(report),
            **self._database.report_limits,
            token=token,
        )
        return bool(self._database.run(call))

    def service_recovered(self, case_name: str, *, state_transition_delay: float) -> None:
        """Restore the status to PASS, unless tests fail or the suite failed in the last ``state_transition_delay`` s.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        suite = self._database.keys.suite(case_name)
        self._database.run(SERVICE_RECOVERED(suite=suite, delay=state_transition_delay))

    def expect_tests(self, cases: Mapping[str, float | None]) -> None:
        """Record that a worker can run tests of these cases from now on; takes at most three round trips.

        The time before, in which nobody checked a case, is not silence: its status is not STALL because of a pause of
        all workers.

        Args:
            cases: ``warn_stalled_after`` of each case; None for an inactive case.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._check_stalled(cases, report=False, everything=False)

    def stalled(self, cases: Mapping[str, float | None], *, everything: bool = False) -> dict[str, float]:
        """Return the cases to report as stalled now, with the seconds since their last test.

        One caller gets a stalled case, once per ``warn_stalled_after`` seconds. A case that never received a test is
        measured from the time when tests were first expected, an inactive case from its reactivation. Takes one round
        trip if no suite is due (`StallChecks`), and at most three.

        Args:
            cases: ``warn_stalled_after`` of each case; None for an inactive case.
            everything: whether to look at all suites: workers of earlier versions take one that was passed over for not
                checked.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        replies = self._check_stalled(cases, report=True, everything=everything)
        return {name: float(silent_for) for name, (silent_for, _, _) in replies.items() if silent_for}

    def _check_stalled(
        self, cases: Mapping[str, float | None], *, report: bool, everything: bool
    ) -> dict[str, tuple[str, str, str]]:
        """Return the replies for the suites that were looked at."""
        active = {name: limit for name, limit in cases.items() if limit is not None}
        # In a cluster, the suites can be unavailable while the times of the checks are not.
        is_cluster = isinstance(self._database.client, Cluster)
        due = self.stall_checks.due(active, everything=everything or is_cluster)
        calls = {
            name: STALLED(
                suite=self._database.keys.suite(name),
                warn_stalled_after=limit,
                report=report,
                checked_at=due.get(name),
            )
            for name, limit in cases.items()
            if limit is None or name in due
        }
        replies: dict[str, tuple[str, str, str]] = self._database.run_each(calls)
        with suppress(RedisUnavailable):  # a stall that was found must be reported; the next check looks again
            self.stall_checks.note({name: (at, since) for name, (_, at, since) in replies.items() if name in due})
        return replies

    def statistics(self, case_name: str, *, stalled_after: float | None = None) -> Statistics:
        """Read the statistics of a case atomically.

        The status is STALL if no test was received in the last ``stalled_after`` seconds, even if no stall was reported
        yet. Pass None for a case whose tests are not expected. Stored values that cannot be parsed are skipped; the
        status is ERROR if it is one of them.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return self.statistics_each({case_name: stalled_after})[case_name]

    def statistics_each(self, cases: Mapping[str, float | None]) -> dict[str, Statistics]:
        """Read the statistics of each of ``cases``, atomically for a case, a round trip for some hundreds.

        Args:
            cases: ``stalled_after`` of each case, as for `statistics`.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        stored = [{keys.suite(name): "hash", **dict.fromkeys(_histories(keys, name), "list")} for name in cases]
        read = self._database.read_all(stored)
        return {
            name: self._statistics(name, now, values, stalled_after)
            for (name, stalled_after), (now, values) in zip(cases.items(), read, strict=True)
        }

    def _statistics(
        self, case_name: str, now: float, values: Sequence[Sequence[str] | None], stalled_after: float | None
    ) -> Statistics:
        keys, skip = self._database.keys, self._database.unreadable.skip
        suite, histories, (state, *lists) = keys.suite(case_name), _histories(keys, case_name), values
        fields = _UNREADABLE if state is None else self._readable(suite, as_dict(state))
        numbers = [
            readable_numbers(items or (), partial(skip, key)) for key, items in zip(histories, lists, strict=True)
        ]
        return read_statistics(now, fields, *numbers, stalled_after=stalled_after)

    def _readable(self, key: str, state: Mapping[str, str]) -> dict[str, str]:
        skip = self._database.unreadable.skip
        return readable_fields(state, lambda field, problem: skip(key, problem, field=field))

    def health(self, cases: Mapping[str, float | None]) -> Health:
        """Read the status of each of ``cases``, and the delay of the sweep, in one round trip.

        Args:
            cases: ``stalled_after`` of each case, as for `statistics`.

        The status of a case is ERROR if it cannot be parsed.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        pipeline = self._database.pipeline()
        pipeline.time()
        for name in cases:
            pipeline.hmget(keys.suite(name), STATUS_FIELDS)
            pipeline.zrangebyscore(keys.open(name), "-inf", "+inf", start=0, num=1, withscores=True)
        used = [key(name) for name in cases for key in (keys.suite, keys.open)]
        (seconds, microseconds), *replies = self._database.execute_each(pipeline, ["", *used])
        now = seconds + microseconds / 1_000_000
        statuses, failing, overdue = {}, set(), 0.0
        for (name, stalled_after), values, first in zip(cases.items(), replies[::2], replies[1::2], strict=True):
            stored = dict(zip(STATUS_FIELDS, values or (), strict=values is not None))
            state = {field: value for field, value in stored.items() if value is not None}
            fields = _UNREADABLE if values is None else self._readable(keys.suite(name), state)
            statuses[name] = read_status(now, fields, stalled_after)
            if "failing_since" in fields:
                failing.add(name)
            overdue = max(overdue, *(now - due for _, due in first or ()), 0.0)
        return Health(statuses, overdue, frozenset(failing))


def _histories(keys: Keys, case_name: str) -> list[str]:
    return [keys.frequency(case_name), keys.latency(case_name), keys.runtime(case_name)]
