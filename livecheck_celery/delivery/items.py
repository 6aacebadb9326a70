"""What the outbox carries."""

from __future__ import annotations

from dataclasses import dataclass

from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.propagation.sources import Source


@dataclass(frozen=True, slots=True)
class Requested:
    """A test to be recorded and executed; ``expires_in`` seconds."""

    test: TestExecution
    expires_in: float
    size: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal to be stored for ``ttl`` seconds and announced."""

    event: SignalEvent
    ttl: float

    @property
    def size(self) -> int:
        """Bytes, near enough."""
        return len(self.event.value)


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that happened in ``tests``; it may resolve signals of theirs, with ``value``, as JSON, or ``error``."""

    source: Source
    tests: tuple[TestExecution, ...]
    value: str
    error: str | None

    @property
    def size(self) -> int:
        """Bytes, near enough."""
        return len(self.value)


Item = Requested | Signalled | Noticed
