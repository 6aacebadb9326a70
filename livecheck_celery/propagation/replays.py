"""Count how often the headers of each test are accepted, so that a captured header is of little use."""

from __future__ import annotations

import threading
from typing import Final

from livecheck_celery.propagation.headers import Carried
from livecheck_celery.utils.forks import renew_after_fork

#: Requests of one test, or of one fake request without a test, that a process accepts.
MAX_REQUESTS: Final = 100
#: Tests that a process counts; the oldest one is forgotten first.
_MAX_TESTS: Final = 10_000


class Replays:
    """The number of requests accepted of each test, in this process."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock: the thread that held it does not exist in the child."""
        self._lock = threading.Lock()

    def accept(self, carried: Carried) -> bool:
        """Count a request that carries something; return whether it is one of the first `MAX_REQUESTS`."""
        key = _identity(carried)
        with self._lock:
            count = self._counts.get(key, 0) + 1
            if count == 1 and len(self._counts) >= _MAX_TESTS:
                del self._counts[next(iter(self._counts))]
            self._counts[key] = count
        return count <= MAX_REQUESTS


def _identity(carried: Carried) -> tuple[str, ...]:
    if carried.test is not None:
        return carried.test.case_name, carried.test.id, carried.test.use
    return ("", "") if carried.mark is None else (carried.mark.case_name, carried.mark.since.isoformat())
