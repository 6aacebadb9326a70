"""The items that the outbox carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from livecheck_celery.models import SignalEvent, TestExecution, new_send_id
from livecheck_celery.propagation.sources import Source


class RequestedTest(NamedTuple):
    """A test to record and execute, at most ``expires_in`` seconds from now.

    Attributes:
        test: the execution.
        expires_in: seconds until it expires.
        size: approximate bytes of its arguments.
        max_rate: tests of the case a second; None for no limit.
    """

    test: TestExecution
    expires_in: float
    size: int
    max_rate: float | None = None


class SentSignal(NamedTuple):
    """A signal to store for ``ttl`` seconds and publish."""

    event: SignalEvent
    ttl: float

    @property
    def size(self) -> int:
        """Approximate bytes."""
        return len(self.event.value) + len(self.event.error or "")


@dataclass(frozen=True, slots=True)
class FinishedOperation:
    """An operation that finished as part of ``tests``, and may be the source of automatic signals.

    Attributes:
        source: the operation.
        tests: the tests that the operation was part of.
        value: value of the signals, as JSON.
        error: why the operation has no value; None if the operation succeeded.
        send_id: of its signals, so that a repeated write counts once.
    """

    source: Source
    tests: tuple[TestExecution, ...]
    value: str
    error: str | None
    send_id: str = field(default_factory=new_send_id, compare=False)

    @property
    def size(self) -> int:
        """Approximate bytes."""
        return len(self.value) + len(self.error or "") + len(self.source.name)


Item = RequestedTest | SentSignal | FinishedOperation
