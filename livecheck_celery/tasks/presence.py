"""The records of running workers and beats in Redis, which `doctor`, `status` and `cases` read."""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import SIGN_TTL, RunningProcess
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.sanitize import get_logger, sanitize
from livecheck_celery.utils.secrets import printed_url
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

#: Seconds between two signs of life of a process.
SIGN_EVERY: Final = SIGN_TTL / 6
#: Names of cases that the banner lists.
_MAX_LISTED: Final = 10


def banner(livecheck: Installed) -> str:
    """Describe what a worker runs, in four lines: version, cases, queues, and the URL of the state."""
    settings, cases = livecheck.settings, sorted(livecheck.cases)
    more = f" and {len(cases) - _MAX_LISTED} more" if len(cases) > _MAX_LISTED else ""
    listed = sanitize(", ".join(cases[:_MAX_LISTED])) + more
    return "\n".join(
        (
            f"LiveCheck {version('livecheck-celery')}",
            f"  cases   {listed or 'none: import the modules that declare them, or set livecheck_cases'}",
            f"  queues  {settings.queue}, {settings.schedule_queue}",
            f"  state   {printed_url(settings.redis_url)}, prefix {settings.prefix}",
        )
    )


class Presence:
    """Signs of life of this worker or beat, for one LiveCheck.

    Args:
        livecheck: the LiveCheck that the process works for.
        kind: ``worker`` or ``beat``.
        name: node name of the worker, or name of beat's host.
        queues: names of all queues that the worker consumes.
    """

    def __init__(self, livecheck: Installed, kind: str, name: str, queues: tuple[str, ...] = ()) -> None:
        self._livecheck = livecheck
        self._throttle = Throttle()
        self._next = 0.0
        self._process = RunningProcess(
            id=uuid.uuid4().hex,
            kind=kind,
            name=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("livecheck-celery"),
            queues=queues,
            has_stall_checks=True,
        )

    def repeat(self, worker: Any) -> None:
        """Give a sign of life now, and every 20 s by the timer of ``worker``, Celery's consumer."""
        self._process = replace(self._process, pool=type(worker.pool).__module__.rpartition(".")[2])
        self.sign_in()
        worker.timer.call_repeatedly(SIGN_EVERY, self.sign_in)

    def sign_in(self) -> None:
        """Give a sign of life, with the offset of the clock; log a failure."""
        try:
            liveness = self._store.liveness
            self._process = replace(self._process, clock_offset=liveness.clock_offset())
            liveness.sign_in(self._process, list(self._livecheck.cases))
        except LiveCheckError as exc:
            if self._throttle("sign_in"):
                logger.warning("presence: sign of life not recorded: %s", exc)

    def sign_in_if_due(self) -> None:
        """Give a sign of life, unless the last one is younger than 20 s."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SIGN_EVERY
            self.sign_in()

    def sign_off(self) -> None:
        """Remove the record, since the process exits."""
        try:
            self._store.liveness.sign_off(self._process.id)
        except LiveCheckError as exc:
            logger.debug("presence: record not removed: %s", exc)

    @property
    def _store(self) -> Store:
        # Celery's timer can share a thread with the consumer, which must not wait long.
        return self._livecheck.runtime.request_store
