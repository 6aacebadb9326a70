"""The suites: how each is doing, and what its schedules need."""

from __future__ import annotations

from typing import Final

from livecheck_celery.models import State, TestReport
from livecheck_celery.store.part import Part, as_dict, readable
from livecheck_celery.store.statistics import Statistics, read_statistics

#: Seconds after which a beat that gave no sign of life is forgotten.
BEAT_TTL: Final = 120


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

    def stalled(self, case_name: str, *, warn_stalled_after: float) -> float | None:
        """Seconds since a test was last received, if the suite is to be called stalled now.

        That is so once in each ``warn_stalled_after`` seconds without a test, for one caller. A case that never had
        a test is measured from the first call.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        since = self._run(self._scripts.stalled, [self.keys.state(case_name)], [warn_stalled_after])
        return float(since) if since else None

    def claim_slot(self, case_name: str, *, period: float) -> bool:
        """Whether to make the run of this period, which is ``period`` seconds long; one caller is told so.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return bool(self._run(self._scripts.claim_slot, [self.keys.state(case_name)], [period]))

    def statistics(self, case_name: str) -> Statistics:
        """Everything known about a case, as of one moment.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        state_key = self.keys.state(case_name)
        histories = (self.keys.frequency(case_name), self.keys.latency(case_name), self.keys.runtime(case_name))
        now, (state, *lists) = self._read(state_key, *histories)
        return readable(state_key, lambda: read_statistics(now, as_dict(state), *lists))

    def beat_seen(self) -> None:
        """Note that beat is alive.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._run(self._scripts.beat, [self.keys.beat], [BEAT_TTL])

    def seconds_since_beat(self) -> float | None:
        """Seconds since beat was last alive; None when that is longer ago than two minutes.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        now, [seen] = self._read(self.keys.beat)
        if not seen:
            return None
        return max(0.0, now - readable(self.keys.beat, lambda: float(seen)))
