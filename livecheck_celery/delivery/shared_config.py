"""Keeps in mind what Redis says every process is to know, so that no request has to ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from livecheck_celery.propagation.sources import Wanted
from livecheck_celery.store.registry import Snapshot
from livecheck_celery.store.store import Store
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)


class Watch:
    """What was read last.

    Args:
        store: where it is read.
        begin_again: called with this when Redis has lost everything, before what it has now is followed; where it
            raises, again with the next reading.

    Attributes:
        overrides: by case, the settings that were changed at run time.
        wanted: which signals are resolved by what happens anyway; None until it has been read once.
    """

    def __init__(self, store: Store, begin_again: Callable[[Watch], object]) -> None:
        self.overrides: Mapping[str, Mapping[str, Any]] = {}
        self.wanted: Wanted | None = None
        self._store = store
        self._revision = "none"
        self._since = ""
        self._begin_again = begin_again
        self._listeners: list[Callable[[Watch], object]] = []
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A thread that held the lock is not there to release it."""
        self._reading = threading.Lock()

    def listen(self, listener: Callable[[Watch], object]) -> None:
        """Call ``listener`` now, and whenever something changed."""
        self._listeners.append(listener)
        listener(self)

    def refresh(self) -> None:
        """Read again, in one round trip.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        with self._reading:  # or what was read earlier might be followed later
            wired = self._store.registry.snapshot(self._revision)
            if wired is not None:
                self._follow(wired)

    def _follow(self, wired: Snapshot) -> None:
        is_lost = bool(self._since) and wired.since != self._since
        if is_lost:
            self._begin_again(self)
        self._revision, self._since = wired.revision, wired.since
        self.overrides = wired.overrides
        if wired.since or not is_lost:  # else there is no worker yet that has said it again
            self.wanted = Wanted(wired.sources)
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:
                logger.exception("what changed at run time could not be followed")
