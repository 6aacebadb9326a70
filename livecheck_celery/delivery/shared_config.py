"""Cache the configuration that all processes share: overrides, and sources of automatic signals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from livecheck_celery.propagation.sources import Source, SourceIndex
from livecheck_celery.store.counters import REFUSED, UNTRUSTED
from livecheck_celery.store.registry import Snapshot
from livecheck_celery.store.store import Store
from livecheck_celery.utils import clock
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.signal_handlers import reraise_from_handler

logger = get_logger(__name__)

#: Seconds between two measurements of the clock.
_MEASURE_EVERY: Final = 60.0
#: Refused sources that are counted by name, and characters of each: the names come from Redis.
_MAX_REFUSED: Final = 10
_MAX_NAME: Final = 200


class SharedConfig:
    """The shared configuration as last read, so that requests never read Redis.

    Args:
        store: the store that holds the configuration.
        on_data_loss: called with this object when Redis has lost its data, before the new configuration is applied;
            if the callback raises, it is called again at the next refresh.
        allows: whether this process sends automatic signals of a source; None for all.
        count: counts what is refused, by reason, once a minute.

    Attributes:
        overrides: overrides of settings, by case.
        sources: the automatic signals of each source; None until read for the first time.
    """

    def __init__(
        self,
        store: Store,
        on_data_loss: Callable[[SharedConfig], object],
        allows: Callable[[Source], bool] | None = None,
        count: Callable[[str, str], object] | None = None,
    ) -> None:
        self.overrides: Mapping[str, Mapping[str, Any]] = {}
        self.sources: SourceIndex | None = None
        self._store = store
        self._revision = "none"
        self._since = ""
        self._measure_at = 0.0
        self._on_data_loss = on_data_loss
        self._allows = allows
        self._count = count
        self._wired: Mapping[str, Mapping[str, tuple[str, str]]] = {}
        self._ignored: Mapping[str, str] = {}
        self._listeners: list[Callable[[SharedConfig], object]] = []
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock: the thread that held it does not exist in the child."""
        self._lock = threading.Lock()

    def listen(self, listener: Callable[[SharedConfig], object]) -> None:
        """Call ``listener`` now, and after every change."""
        self._listeners.append(listener)
        listener(self)

    def refresh(self) -> None:
        """Read the shared configuration, in one round trip; once a minute, also measure the clock, in another one.

        Raises:
            UnreadableData: the stored configuration cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        with self._lock:  # else an older snapshot could be applied after a newer one
            is_due = time.monotonic() >= self._measure_at
            if is_due:
                clock.adjust(self._store.liveness.clock_offset())
                self._measure_at = time.monotonic() + _MEASURE_EVERY
            snapshot = self._store.registry.snapshot(self._revision)
            if snapshot is not None:
                self._apply(snapshot)
            if is_due:
                self._count_refused()

    def case_added(self, name: str) -> Mapping[str, Any]:
        """Allow the sources of a case that is declared after the configuration was read; return its overrides."""
        if self.sources is not None:
            self.sources = SourceIndex(self._wired, self._allows)
        return self.overrides.get(name, {})

    def _count_refused(self) -> None:
        """Count and log what is refused, again while it is, so that ``doctor`` knows that it still is."""
        sources = sorted(f"{kind}:{name}" for kind, name in self.sources.refused) if self.sources else []
        fields = sorted(f"{reason} {field}" for field, reason in self._ignored.items())
        for what, names in ((REFUSED, sources), (UNTRUSTED, fields)):
            for name in names[:_MAX_REFUSED]:
                if self._count is not None:
                    self._count(what, name[:_MAX_NAME])
        if sources:
            logger.warning(
                "shared configuration: %d sources of automatic signals refused, such as %s; "
                "name those of your cases in livecheck_allow_sources",
                len(sources),
                sources[0][:_MAX_NAME],
            )
        if fields:
            logger.warning(
                "shared configuration: %d fields ignored, such as %s; is livecheck_secret_key the same everywhere?",
                len(fields),
                fields[0][:_MAX_NAME],
            )

    def _apply(self, snapshot: Snapshot) -> None:
        is_lost = bool(self._since) and snapshot.since != self._since
        if is_lost:
            self._on_data_loss(self)
        self._revision, self._since = snapshot.revision, snapshot.since
        self.overrides, self._ignored = snapshot.overrides, snapshot.refused
        if snapshot.since or not is_lost:  # else no worker has registered the cases again yet
            self._wired = snapshot.sources
            self.sources = SourceIndex(snapshot.sources, self._allows)
        for listener in self._listeners:
            try:
                listener(self)
            except Exception as exc:
                reraise_from_handler(exc)
                logger.exception("shared configuration: failed to apply a change")
