"""Runs of schedules: one in each period, however many beats send messages and however many workers die."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from livecheck_celery.store.database import Database
from livecheck_celery.store.open_cases import OpenCases
from livecheck_celery.store.scripts import Script

#: Maximum number of claims of one run, in case the run kills its worker.
MAX_ATTEMPTS: Final = 3

CLAIM_RUN: Final = Script("claim_run", keys=("suite",), args=("period", "early", "token", "lease", "max_attempts"))
RENEW_RUN: Final = Script("renew_run", keys=("suite",), args=("token", "lease"))
FINISH_RUN: Final = Script("finish_run", keys=("suite",), args=("token",))
LAPSED_RUN: Final = Script("lapsed_run", keys=("suite",), args=("lease", "max_attempts"))


class Window(NamedTuple):
    """The time in which a run can be made.

    Attributes:
        period: seconds until the run after this one should come.
        early: seconds by which a run can come before its time, since clocks differ.
    """

    period: float
    early: float


class ScheduleRuns:
    """Claims of runs by workers.

    A worker claims a run with a token, renews the lease during the run, and finishes the run. If the lease of an
    unfinished run lapses, another worker can claim the run, until the next run is due.
    """

    def __init__(self, database: Database, open_cases: OpenCases) -> None:
        self._database = database
        self._open_cases = open_cases

    def claim(self, case_name: str, window: Window, *, token: str, lease: float) -> int:
        """Claim the run of this period; return the number of the attempt, from 1, or 0 if the run is not available.

        Raises:
            RedisUnavailable: Redis did not answer; if the run was claimed, its lease lapses.
        """
        call = CLAIM_RUN(
            suite=self._database.keys.suite(case_name),
            period=window.period,
            early=window.early,
            token=token,
            lease=lease,
            max_attempts=MAX_ATTEMPTS,
        )
        return int(self._open_cases.run(call, case_name))

    def renew(self, case_name: str, token: str, *, lease: float) -> bool:
        """Renew the lease of a run to ``lease`` seconds from now; return False if the token does not hold the run.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        call = RENEW_RUN(suite=self._database.keys.suite(case_name), token=token, lease=lease)
        return bool(self._database.run(call))

    def finish(self, case_name: str, token: str) -> bool:
        """Mark a run as finished; return False if the token does not hold the run.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return bool(self._database.run(FINISH_RUN(suite=self._database.keys.suite(case_name), token=token)))

    def lapsed(self, case_names: Sequence[str], *, lease: float) -> list[str]:
        """Return the cases with an unfinished run whose lease lapsed, in one round trip.

        One of several callers gets each case; after ``lease`` seconds without a claim, a caller gets it again.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        suite = self._database.keys.suite
        calls = {name: LAPSED_RUN(suite=suite(name), lease=lease, max_attempts=MAX_ATTEMPTS) for name in case_names}
        return [name for name, has_lapsed in self._database.run_each(calls).items() if has_lapsed]
