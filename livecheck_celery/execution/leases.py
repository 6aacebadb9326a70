"""Renew the leases of the executions running in this process, all in one round trip."""

from __future__ import annotations

import threading
from typing import Final

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store.store import Store
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.jitter import around
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

#: Length of a lease as a share of ``recover_within``; the sweep needs the rest.
LEASE_SHARE: Final = 3 / 5

#: Maximum number of lost leases that are logged by name; of more, only the number is logged.
_NAMED: Final = 3

Held = tuple[str, str, str]


class Leases:
    """The leases this process holds, as (case name, test id, token)."""

    def __init__(self, store: Store, lease: float) -> None:
        """Renew leases to ``lease`` seconds; after that time, another process may run the execution."""
        self._store = store
        self.lease = lease
        self._throttle = Throttle()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's leases."""
        self._held: set[Held] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def hold(self, held: Held) -> None:
        """Renew ``held`` until it is dropped."""
        with self._lock:
            self._held.add(held)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="livecheck-leases", daemon=True)
                self._thread.start()

    def drop(self, held: Held) -> None:
        """Stop renewing ``held``."""
        with self._lock:
            self._held.discard(held)

    @property
    def held(self) -> list[Held]:
        """The leases that are held now."""
        with self._lock:
            return list(self._held)

    def close(self) -> None:
        """Stop renewing all leases."""
        self._closed.set()

    def reopen(self) -> None:
        """Renew leases again after `close`."""
        if self._closed.is_set():
            self._closed, self._thread = threading.Event(), None

    def _run(self) -> None:
        while not self._closed.wait(around(self.lease / 3)):
            if held := self.held:
                self._renew(held)

    def _renew(self, held: list[Held]) -> None:
        try:
            lost = self._store.executions.renew(held, self.lease)
        except RedisUnavailable as exc:
            if self._throttle("renew"):
                logger.warning("leases: %d leases not renewed: %s", len(held), exc)
            return
        with self._lock:
            lost = [one for one in lost if one in self._held]
            self._held.difference_update(lost)
        if len(lost) > _NAMED:
            logger.warning("leases: %d leases lost; the verdicts of these tests will be refused", len(lost))
            return
        for case_name, test_id, _ in lost:
            logger.warning("leases: lease of %s:%s lost; its verdict will be refused", case_name, test_id)
