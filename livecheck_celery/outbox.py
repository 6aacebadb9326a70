"""Carries triggers and signals out of a user's request, without ever being in its way.

``put`` appends to a bounded queue in memory and returns. A daemon thread takes what has gathered, writes it to Redis in
one pipeline, and sends the Celery messages. When Redis or the broker is away, items are dropped and counted, and the
log says so once a minute. A message that got lost is no loss: its execution is recorded, and recovery sends it again.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from celery.signals import worker_process_shutdown

from livecheck_celery.errors import BrokerUnavailable, RedisUnavailable
from livecheck_celery.forks import renew_after_fork
from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.publisher import Publisher
from livecheck_celery.store.store import Store

logger = logging.getLogger("livecheck_celery.outbox")

MAX_ITEMS: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
FLUSH_TIMEOUT: Final = 2.0
_BATCH: Final = 500
_LOG_EVERY: Final = 60.0


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


Item = Requested | Signalled


class Outbox:
    """The queue of this process, and the thread that empties it."""

    def __init__(self, store: Store, publisher: Publisher, *, max_items: int = MAX_ITEMS) -> None:
        self._store = store
        self._publisher = publisher
        self._max_items = max_items
        self.sent = 0
        self.dropped = 0
        self._logged_at = -_LOG_EVERY
        self.after_fork()
        renew_after_fork(self)
        atexit.register(self.flush)
        # Pool children end without running atexit handlers.
        worker_process_shutdown.connect(self._flush_child, weak=True)

    def after_fork(self) -> None:
        """Begin empty: what waits is the parent's to send."""
        self._queue: queue.SimpleQueue[Item | threading.Event] = queue.SimpleQueue()
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, item: Item) -> bool:
        """Take ``item`` for sending; False when there is no room and it was dropped."""
        if self._queue.qsize() >= self._max_items or self._bytes + item.size > MAX_BYTES:
            self.drop(1, "the outbox is full")
            return False
        with self._lock:
            self._bytes += item.size
        self._queue.put(item)
        if self._thread is None or not self._thread.is_alive():
            self._start()
        return True

    def drop(self, count: int, why: str) -> None:
        """Count ``count`` items as dropped, and say so at most once a minute."""
        self.dropped += count
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY:
            self._logged_at = now
            logger.warning("outbox: dropped %d triggers or signals so far: %s", self.dropped, why)

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait, at most ``timeout`` seconds, until what is here now has been sent or dropped; whether it has."""
        if self._thread is None or not self._thread.is_alive():
            return self._queue.empty()
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout)

    def _flush_child(self, **_: object) -> None:
        self.flush()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="livecheck-outbox", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            batch = list(self._gather())
            items = [one for one in batch if not isinstance(one, threading.Event)]
            if items:
                self._send(items)
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()

    def _gather(self) -> Iterator[Item | threading.Event]:
        yield self._queue.get()
        for _ in range(_BATCH - 1):
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def _send(self, items: list[Item]) -> None:
        with self._lock:
            self._bytes -= sum(item.size for item in items)
        try:
            self._publish(self._record(items))
        except RedisUnavailable as exc:
            self.drop(len(items), str(exc))
            return
        except Exception:
            # The thread must outlive whatever one batch does.
            self.drop(len(items), "unexpected error")
            logger.exception("outbox: a batch could not be sent")
            return
        self.sent += len(items)

    def _record(self, items: list[Item]) -> list[TestExecution]:
        """Write ``items`` in one pipeline; the tests that are new and need a message."""
        with self._store.batch() as batch:
            for item in items:
                if isinstance(item, Requested):
                    batch.record(item.test, expires_in=item.expires_in)
                else:
                    batch.signal(item.event, ttl=item.ttl)
        written = zip(items, batch.outcomes, strict=True)
        recorded = [item.test for item, is_new in written if isinstance(item, Requested) and is_new]
        duplicates = sum(isinstance(item, Requested) for item in items) - len(recorded)
        if duplicates:
            self.drop(duplicates, "a test of that id is still open")
        return recorded

    def _publish(self, tests: list[TestExecution]) -> None:
        for number, test in enumerate(tests):
            try:
                self._publisher.execute(test)
            except BrokerUnavailable as exc:
                # Recovery sends what is recorded; half a second for each of the rest would hold up the signals.
                logger.warning("outbox: recovery will send %d recorded tests: %s", len(tests) - number, exc)
                return
