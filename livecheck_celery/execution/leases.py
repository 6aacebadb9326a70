"""Keeps the leases of the executions running in this process alive, all of them in one round trip."""

from __future__ import annotations

import threading
from typing import Final

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store.store import Store
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: How long a lease is, as a share of the time in which a test is to run again: the sweep needs the rest.
LEASE_SHARE: Final = 3 / 5

#: Of more tests lost at once, the log tells only how many.
_NAMED: Final = 3

Held = tuple[str, str, str]


class Leases:
    """The (case name, test id, token) triples this process holds."""

    def __init__(self, store: Store, lease: float) -> None:
        """``lease`` is how many seconds after its last renewal an execution may be run by another process."""
        self._store = store
        self.lease = lease
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Hold nothing: the parent's executions are the parent's."""
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
        """Renew ``held`` no longer."""
        with self._lock:
            self._held.discard(held)

    def close(self) -> None:
        """Renew nothing any longer."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(self.lease / 3):
            with self._lock:
                held = list(self._held)
            if held:
                self._renew(held)

    def _renew(self, held: list[Held]) -> None:
        try:
            lost = self._store.executions.renew(held, self.lease)
        except RedisUnavailable as exc:
            logger.warning("leases of %d running tests were not renewed: %s", len(held), exc)
            return
        with self._lock:
            lost = [one for one in lost if one in self._held]
            self._held.difference_update(lost)
        if len(lost) > _NAMED:
            logger.warning("%d tests are no longer this worker's; their verdicts will be refused", len(lost))
            return
        for case_name, test_id, _ in lost:
            logger.warning("test %s:%s is no longer this worker's; its verdict will be refused", case_name, test_id)
