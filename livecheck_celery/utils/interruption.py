"""The time at which a process that was told to stop must stop waiting."""

from __future__ import annotations

import math
import time
from typing import Final

from livecheck_celery.utils.forks import SharedMoment

#: Seconds between two checks while sleeping.
_TICK: Final = 0.1


class Interruption:
    """The end of the grace period of this process and its forked children, once they were told to stop.

    It has no lock, so a signal handler can set it.
    """

    def __init__(self) -> None:
        self._moment = SharedMoment()
        self._here = math.inf

    def after(self, grace: float) -> None:
        """Interrupt in ``grace`` seconds, or earlier if an earlier call says so."""
        moment, current = time.monotonic() + grace, self._moment.get()
        if not current or moment < current:
            self._moment.set(moment)

    def end_here(self, grace: float) -> None:
        """As `after`, in this process alone: a child of a pool can end while its worker goes on."""
        self._here = min(self._here, time.monotonic() + grace)

    def clear(self) -> None:
        """Forget the interruption: a worker starts in this process."""
        self._moment.set(0.0)
        self._here = math.inf

    @property
    def is_requested(self) -> bool:
        """Whether the process was told to stop."""
        return self.remaining < math.inf

    @property
    def is_due(self) -> bool:
        """Whether the grace period is over."""
        return self.remaining <= 0

    @property
    def remaining(self) -> float:
        """Seconds until the end of the grace period; infinite if the process was not told to stop."""
        moment = min(self._moment.get() or math.inf, self._here)
        return moment - time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the grace period."""
        end = time.monotonic() + seconds
        while (left := min(end - time.monotonic(), self.remaining)) > 0:
            time.sleep(min(_TICK, left))
