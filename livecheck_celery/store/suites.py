"""The suites: how each is doing, and what its schedules need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

import redis

from livecheck_celery.models import State, TestReport
from livecheck_celery.store.database import Part, as_dict, readable
from livecheck_celery.store.statistics import STATUS_FIELDS, Statistics, read_statistics, read_status

#: Seconds after which a sign of life is forgotten.
SIGN_TTL: Final = 120


class Signs(NamedTuple):
    """Signs of life: how many seconds ago the last one was, None when that is more than two minutes.

    Attributes:
        beat: beat sent something.
        schedules: a worker executed what beat sends.
    """

    beat: float | None
    schedules: float | None


class Health(NamedTuple):
    """Whether what should happen does.

    Attributes:
        statuses: of each case.
        overdue: seconds for which an execution has been waiting for the sweep to look at it.
    """

    statuses: Mapping[str, State]
    overdue: float


class Suite(Part):
    """State of each case over time."""

    def suite_fail(self, case_name: str, *, state: State, report: TestReport, state_transition_delay: float) -> bool:
        """Note that the suite failed, and set its status to ``state``.

        True when that is news: the status was fine before, or the last failure is longer ago than
        ``state_transition_delay`` seconds; then the report is posted too.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = [self.keys.state(case_name), self.keys.reports(case_name)]
        args = [state.value, state_transition_delay, self._kept(report), self.settings.max_reports]
        return bool(self._run(self._scripts.suite_fail, keys, args))

    def recovered(self, case_name: str, *, state_transition_delay: float) -> None:
        """Set the status to PASS if it is not fine and the suite did not fail in the last such seconds.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._run(self._scripts.recovered, [self.keys.state(case_name)], [state_transition_delay])

    def watch(self, case_names: Iterable[str]) -> None:
        """Note that tests of these cases are expected from now on, where that is not noted yet; one round trip.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._run_each(self._scripts.watch, [([self.keys.state(name)], []) for name in case_names])

    def stalled(self, cases: Mapping[str, float | None]) -> dict[str, float]:
        """Which of ``cases`` are to be called stalled now, with the seconds since they received a test; one round trip.

        That is so once in each ``warn_stalled_after`` seconds without a test, for one caller. A case that never had
        a test is measured from when it was first watched, one that was not active from when it was found active.

        Args:
            cases: ``warn_stalled_after`` of each case; None for a case that is not active.

        Raises:
            RedisUnavailable: Redis did not answer, or what it keeps of a case is not LiveCheck's.
        """
        pipeline = self.client.pipeline(transaction=False)
        for name, warn_stalled_after in cases.items():
            self._scripts.stalled([self.keys.state(name)], [warn_stalled_after], pipeline)
        replies = self.execute(pipeline)
        found = {
            name: float(reply)
            for name, reply in zip(cases, replies, strict=True)
            if reply and not isinstance(reply, redis.RedisError)
        }
        if not found:  # what was found is not found again
            self.complain(replies)
        return found

    def statistics(self, case_name: str, *, stalled_after: float | None = None) -> Statistics:
        """Everything known about a case, as of one moment.

        The status is STALL when no test was received in the last ``stalled_after`` seconds, whether or not anybody
        checked; None for a case of which no tests are expected.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        state_key = self.keys.state(case_name)
        histories = (self.keys.frequency(case_name), self.keys.latency(case_name), self.keys.runtime(case_name))
        now, (state, *lists) = self._read(state_key, *histories)
        return readable(state_key, lambda: read_statistics(now, as_dict(state), *lists, stalled_after=stalled_after))

    def health(self, cases: Mapping[str, float | None]) -> Health:
        """Whether what should happen to ``cases`` does, as of now; one round trip.

        Args:
            cases: ``stalled_after`` of each, as for `statistics`.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        pipeline = self.client.pipeline(transaction=False)
        pipeline.time()
        for name in cases:
            pipeline.hmget(self.keys.state(name), STATUS_FIELDS)
            pipeline.zrangebyscore(self.keys.open(name), "-inf", "+inf", start=0, num=1, withscores=True)
        with self.reaching():
            (seconds, microseconds), *replies = pipeline.execute()
        now = seconds + microseconds / 1_000_000
        statuses, overdue = {}, 0.0
        for (name, stalled_after), values, first in zip(cases.items(), replies[::2], replies[1::2], strict=True):
            state = {field: value for field, value in zip(STATUS_FIELDS, values, strict=True) if value is not None}
            statuses[name] = readable(self.keys.state(name), partial(read_status, now, state, stalled_after))
            overdue = max(overdue, *(now - due for _, due in first), 0.0)
        return Health(statuses, overdue)

    def claim_heartbeat(self, period: float) -> bool:
        """Whether the caller is to see to the ping of this period, which is ``period`` seconds long.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        # Shorter than the period, as no two beats tick alike.
        with self.reaching():
            return bool(self.client.set(self.keys.heartbeat, 1, nx=True, px=int(period * 900)))

    def beat_seen(self) -> None:
        """Note that beat sent something.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._run(self._scripts.sign_of_life, [self.keys.beat], [SIGN_TTL])

    def schedules_seen(self) -> None:
        """Note that a worker executes what beat sends.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._run(self._scripts.sign_of_life, [self.keys.schedules], [SIGN_TTL])

    def signs_of_life(self) -> Signs:
        """When beat, and a worker that executes what it sends, were last alive.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        keys = [self.keys.beat, self.keys.schedules]
        pipeline = self.client.pipeline(transaction=False)
        pipeline.time()
        for key in keys:
            pipeline.get(key)
        with self.reaching():
            (seconds, microseconds), *seen = pipeline.execute()
        now = float(seconds + microseconds / 1_000_000)
        return Signs(*(readable(key, partial(_ago, now, at)) for key, at in zip(keys, seen, strict=True)))


def _ago(now: float, at: str | None) -> float | None:
    return None if at is None else max(0.0, now - float(at))
