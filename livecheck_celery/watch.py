"""Keeps in mind what Redis says every process is to know, so that no request has to ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from livecheck_celery.forks import renew_after_fork
from livecheck_celery.printable import get_logger
from livecheck_celery.sources import Wanted
from livecheck_celery.store.store import Store
from livecheck_celery.store.wiring import Wired

logger = get_logger("livecheck_celery.watch")


class Watch:
    """What was read last.

    Attributes:
        overrides: by case, the settings that were changed at run time.
        wanted: which signals are resolved by what happens anyway; None until it has been read once.
    """

    def __init__(self, store: Store) -> None:
        self.overrides: Mapping[str, Mapping[str, Any]] = {}
        self.wanted: Wanted | None = None
        self._store = store
        self._revision = "none"
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
            wired = self._store.wired(self._revision)
            if wired is not None:
                self._follow(wired)

    def _follow(self, wired: Wired) -> None:
        self._revision = wired.revision
        self.overrides = wired.overrides
        self.wanted = Wanted(wired.sources)
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:
                logger.exception("what changed at run time could not be followed")
