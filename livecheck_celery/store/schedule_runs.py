"""Runs of schedules: one in each period, however many beats send for it and however many workers die."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from livecheck_celery.store.database import Database
from livecheck_celery.store.scripts import Script

#: Maximum number of claims of one run, in case it kills its worker; the next period has a run of its own.
MAX_ATTEMPTS: Final = 3

CLAIM_RUN: Final = Script("claim_run", keys=("state",), args=("period", "early", "token", "lease", "max_attempts"))
RENEW_RUN: Final = Script("renew_run", keys=("state",), args=("token", "lease"))
FINISH_RUN: Final = Script("finish_run", keys=("state",), args=("token",))
LAPSED_RUN: Final = Script("lapsed_run", keys=("state",), args=("lease", "max_attempts"))


class Window(NamedTuple):
    """The time in which a run can be made.

    Attributes:
        period: seconds until the run after this one should come.
        early: seconds by which a run can come before its time, since clocks differ.
    """

    period: float
    early: float


class ScheduleRuns:
    """Which worker makes which run.

    A run is claimed with a token, for the time of a lease that its worker renews, and finished at its end. A run that
    is not finished and whose lease lapsed can be claimed again, until the time of the next one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, case_name: str, window: Window, *, token: str, lease: float) -> int:
        """Claim the run of this period; the number of this attempt, 1 for the first, or 0 if it is not the caller's.

        Raises:
            RedisUnavailable: Redis did not answer; the run may have been claimed, and then lapses.
        """
        call = CLAIM_RUN(
            state=self._database.keys.state(case_name),
            period=window.period,
            early=window.early,
            token=token,
            lease=lease,
            max_attempts=MAX_ATTEMPTS,
        )
        return int(self._database.run(call))

    def renew(self, case_name: str, token: str, *, lease: float) -> bool:
        """Renew the lease of a run, to ``lease`` seconds from now; False if the token does not hold the run.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        call = RENEW_RUN(state=self._database.keys.state(case_name), token=token, lease=lease)
        return bool(self._database.run(call))

    def finish(self, case_name: str, token: str) -> bool:
        """Mark a run as finished; False if the token does not hold the run.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return bool(self._database.run(FINISH_RUN(state=self._database.keys.state(case_name), token=token)))

    def lapsed(self, case_names: Sequence[str], *, lease: float) -> list[str]:
        """Those of the cases with an unfinished run whose lease lapsed; one round trip.

        Of several callers one gets each case, and again after ``lease`` seconds if the run was not claimed.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        state = self._database.keys.state
        calls = [LAPSED_RUN(state=state(name), lease=lease, max_attempts=MAX_ATTEMPTS) for name in case_names]
        replies = self._database.run_all(calls)
        return [name for name, has_lapsed in zip(case_names, replies, strict=True) if has_lapsed]
