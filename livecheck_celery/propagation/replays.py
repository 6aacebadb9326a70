"""Count how often each signature is accepted, so that a captured header is of little use.

Each request has a signature of its own. So a fake request that makes many requests to a process is not taken for a real
one, while somebody who sends a captured header again soon is.
"""

from __future__ import annotations

import threading
from typing import Final

from livecheck_celery.propagation.headers import Carried
from livecheck_celery.utils.forks import renew_after_fork

#: Requests with one signature that a process accepts: clients and proxies send some requests again, and services with
#: OpenTelemetry alone copy what they received to each request that they make.
MAX_REQUESTS: Final = 100
#: Signatures that a process counts; the oldest one is forgotten first.
_MAX_SIGNATURES: Final = 50_000


class Replays:
    """The number of requests accepted with each signature, in this process."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock: the thread that held it does not exist in the child."""
        self._lock = threading.Lock()

    def accept(self, carried: Carried, signature: str) -> bool:
        """Count a request with a genuine ``signature``; return whether it is one of the first `MAX_REQUESTS`."""
        # Its random number is signed; the rest can be spelled in several ways, as base64 allows.
        key = hash((*_identity(carried), signature.rpartition(".")[2]))
        with self._lock:
            count = self._counts.get(key, 0) + 1
            if count == 1 and len(self._counts) >= _MAX_SIGNATURES:
                del self._counts[next(iter(self._counts))]
            self._counts[key] = count
        return count <= MAX_REQUESTS


def _identity(carried: Carried) -> tuple[str, ...]:
    if carried.test is not None:
        return carried.test.case_name, carried.test.id, carried.test.use
    return ("", "") if carried.mark is None else (carried.mark.case_name, carried.mark.since.isoformat())
