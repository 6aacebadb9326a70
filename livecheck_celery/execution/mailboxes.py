"""The signals of one execution: those of its test, and those of other tests that its ``run()`` waits for."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future

from livecheck_celery.execution.inbox import Inbox, Mailbox
from livecheck_celery.models import SignalEvent
from livecheck_celery.store import Store
from livecheck_celery.store.retry import Retry


class Mailboxes:
    """The mailboxes that one execution has opened, by case and test."""

    def __init__(self, inbox: Inbox, store: Store, retry: Retry) -> None:
        self._inbox = inbox
        self._store = store
        self._retry = retry
        self._open: dict[tuple[str, str], Mailbox] = {}
        self._expected: dict[Future[SignalEvent], tuple[Mailbox, str]] = {}

    def open(self, case_name: str, key: str) -> None:
        """Open the mailbox of a test; its claim then reads the signals stored so far.

        Raises:
            Interrupted: this process is stopping.
        """
        self._open[case_name, key] = self._inbox.open(case_name, key)

    def deliver(self, case_name: str, key: str, events: Iterable[SignalEvent]) -> None:
        """Put the signals of a test that were read into its open mailbox."""
        for event in events:
            self._open[case_name, key].deliver(event)

    def is_open(self, case_name: str, key: str) -> bool:
        """Return whether `expect` need not ask Redis."""
        return (case_name, key) in self._open

    def expect(self, case_name: str, signal_name: str, key: str, *, ttl: float) -> Future[SignalEvent]:
        """Return a future of a signal of a test, which listens for ``ttl`` seconds.

        Raises:
            RedisUnavailable: Redis did not answer for a minute.
        """
        if not self.is_open(case_name, key):
            self.open(case_name, key)
            listen = self._store.signals.listen
            arrived = self._retry(listen, case_name, key, self._inbox.address, ttl=ttl)
            self.deliver(case_name, key, arrived.values())
        mailbox = self._open[case_name, key]
        future = mailbox.expect(signal_name)
        self._expected[future] = mailbox, signal_name
        return future

    def forget(self, case_name: str, signal_name: str, key: str, future: Future[SignalEvent]) -> None:
        """Drop a future that `expect` returned."""
        self._expected.pop(future, None)
        self._open[case_name, key].forget(signal_name, future)

    def arrived(self, case_name: str, key: str) -> list[SignalEvent]:
        """Return the signals of a test that have arrived, the earliest first."""
        mailbox = self._open.get((case_name, key))
        events = [] if mailbox is None else list(mailbox.events.values())
        return sorted(events, key=lambda event: event.first_at or event.received_at or 0.0)

    def close(self) -> None:
        """Close all mailboxes; what still waits, in a task or thread that ``run()`` has left, gets a `RuntimeError`."""
        for future, (mailbox, signal_name) in list(self._expected.items()):
            mailbox.end(signal_name, future)
        for opened in self._open.values():
            self._inbox.close(opened)
