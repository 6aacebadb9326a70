"""The items that the outbox carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from livecheck_celery.models import JSONText, SignalEvent, TestExecution, new_send_id
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
    """A signal to store and publish, as parts of its event, which the thread of the outbox makes.

    Attributes:
        signal_name: name of the signal on its case.
        case_name: full name of the case.
        key: id of the receiving test.
        value: the value, as JSON.
        error: why the value could not be encoded; None if it could.
        test: the test that receives it, if the sender is part of it.
        ttl: seconds for which to store it.
    """

    signal_name: str
    case_name: str
    key: str
    value: JSONText
    error: str | None = None
    test: TestExecution | None = None
    ttl: float = 0.0

    @property
    def size(self) -> int:
        """Approximate bytes."""
        return len(self.value) + len(self.error or "")

    def event(self) -> SignalEvent:
        """Make the event, with an id of its own."""
        use = "" if self.test is None else self.test.use
        return SignalEvent(self.signal_name, self.case_name, self.key, self.value, self.error, use=use)


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
