"""Decide when the wait for a signal is over.

The arrival time decides, not the moment at which a thread or the event loop wakes up: before a timeout, the stored
signals are read once more. Time in which this process had no contact with Redis does not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Protocol

from livecheck_celery.models import SignalEvent

#: Longest time in seconds for reading the stored signals before a timeout.
_CONFIRM: Final = 3.0
#: Seconds by which a thread can wake up late without a comparison of times.
_LATE: Final = 0.2


class Contact(Protocol):
    """The contact of this process with Redis."""

    def outage_since(self, moment: float) -> float:
        """Return the seconds without contact since ``moment``, a monotonic time."""

    def read_awaited_soon(self) -> Future[None]:
        """Read all awaited signals; the future is done when those that are stored were delivered."""


class Wait:
    """The wait for one signal, from now on.

    Args:
        contact: of this process.
        future: of the signal.
        limit: seconds, without those in which there was no contact.
        latest: monotonic time at which the wait ends in any case.
        redis_ahead: at most so many seconds is the time of Redis ahead of the monotonic time.
    """

    def __init__(
        self, contact: Contact, future: Future[SignalEvent], *, limit: float, latest: float, redis_ahead: float
    ) -> None:
        self.started = time.monotonic()
        self._contact = contact
        self._future = future
        self.limit = limit
        self._latest = latest
        self._redis_ahead = redis_ahead

    def steps(self) -> Iterator[tuple[Future[Any], float]]:
        """Yield futures to wait for, each with a limit in seconds, until the wait is over."""
        while not self._future.done():
            left = self._ends_at - time.monotonic()
            if left > 0:
                yield self._future, left
                continue
            read = self._contact.read_awaited_soon()
            yield read, max(0.0, min(_CONFIRM, self._latest - time.monotonic()))
            now = time.monotonic()
            if now >= self._latest or (read.done() and now >= self._ends_at):
                return

    def result(self) -> SignalEvent | None:
        """Return the signal; None if it did not arrive in time.

        Raises:
            Interrupted: the process is stopping.
        """
        if not self._future.done() or self._future.cancelled():
            return None
        event = self._future.result()
        ends_at = self._ends_at
        is_late = time.monotonic() > ends_at + _LATE and (event.received_at or 0.0) > ends_at + self._redis_ahead
        return None if is_late else event

    @property
    def _ends_at(self) -> float:
        return min(self._latest, self.started + self.limit + self._contact.outage_since(self.started))


async def done_within(future: Future[Any], seconds: float) -> None:
    """Wait until ``future`` is done, without cancelling it, and for ``seconds`` at most."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
