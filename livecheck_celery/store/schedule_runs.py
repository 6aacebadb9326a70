"""The runs of a schedule: in each period one, however many ask for it, and whoever dies over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from livecheck_celery.store.database import Part
from livecheck_celery.store.scripts import Argument

#: Most workers that one run may take down with it; the next period has a run of its own.
MAX_ATTEMPTS: Final = 3


class Slot(NamedTuple):
    """The time a run has.

    Attributes:
        period: seconds until the run after this one should come.
        early: seconds that a run may come before its time, since no two clocks agree.
    """

    period: float
    early: float


class Periods(Part):
    """Who makes which run.

    A run is claimed with a token, for the time of a lease that its maker renews, and marked as finished at its end. One
    that was not, and whose lease lapsed, may be claimed again, until the next one's time has come.
    """

    def claim_slot(self, case_name: str, slot: Slot, *, token: str, lease: float) -> int:
        """Which attempt at the run of this period is to be made by the caller, 1 for the first; 0 for none.

        Raises:
            RedisUnavailable: Redis did not answer; the run may have been claimed, and then lapses.
        """
        args: list[Argument] = [slot.period, slot.early, token, lease, MAX_ATTEMPTS]
        return int(self._run(self._scripts.claim_slot, [self.keys.state(case_name)], args))

    def renew_slot(self, case_name: str, token: str, *, lease: float) -> bool:
        """Keep a run for ``lease`` seconds from now; False when it is no longer the token's.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return bool(self._run(self._scripts.renew_slot, [self.keys.state(case_name)], [token, lease]))

    def finish_slot(self, case_name: str, token: str) -> bool:
        """Note that a run was made; False when it is no longer the token's.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return bool(self._run(self._scripts.finish_slot, [self.keys.state(case_name)], [token]))

    def lapsed_slots(self, case_names: Sequence[str], *, lease: float) -> list[str]:
        """Those of the cases whose run nobody makes any longer, and has not finished; one round trip.

        Of several callers one is told, and again after ``lease`` seconds if nobody claimed the run.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        calls = [([self.keys.state(name)], [lease, MAX_ATTEMPTS]) for name in case_names]
        replies = self._run_each(self._scripts.lapsed_slot, calls)
        return [name for name, lapsed in zip(case_names, replies, strict=True) if lapsed]
