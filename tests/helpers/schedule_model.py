"""A model of the runs of the schedule of one case; part of `ExecutionModel`."""

from __future__ import annotations

from livecheck_celery.store import schedule_runs
from livecheck_celery.store.schedule_runs import Window
from tests.helpers.execution_records import Run, Suite


class ScheduleModel:
    """The runs of one case; ``now`` is the server's clock."""

    now: float
    suite: Suite

    def claim_run(self, window: Window, token: str, lease: float) -> int:
        """Return the number of the attempt, or 0."""
        suite, run = self.suite, self.suite.run
        if run is not None and run.token == token:
            return run.attempts
        # A time too far in the future is ignored.
        if run is not None and self.now < run.lease_until <= self.now + 2 * lease:
            return 0
        planned = suite.next_run
        if planned is None or planned > self.now + 1.5 * window.period:
            planned = self.now
        if self.now >= planned - window.early:
            suite.next_run = max(self.now, planned) + window.period
            suite.run = Run(token, self.now + lease, suite.next_run - window.early)
            return 1
        if run is None or run.over_at <= self.now or run.attempts >= schedule_runs.MAX_ATTEMPTS:
            return 0
        run.token, run.lease_until, run.attempts = token, self.now + lease, run.attempts + 1
        return run.attempts

    def renew_run(self, token: str, lease: float) -> bool:
        run = self.suite.run
        if run is None or run.token != token:
            return False
        run.lease_until = self.now + lease
        return True

    def finish_run(self, token: str) -> bool:
        run = self.suite.run
        if run is None or run.token != token:
            return False
        self.suite.run = None
        return True

    def lapsed_run(self, lease: float) -> bool:
        run = self.suite.run
        if run is None or run.attempts >= schedule_runs.MAX_ATTEMPTS or not run.lease_until <= self.now < run.over_at:
            return False
        if run.resent_until is not None and run.resent_until > self.now:
            return False
        run.resent_until = self.now + lease
        return True
