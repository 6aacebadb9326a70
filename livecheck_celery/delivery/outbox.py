"""Carries triggers and signals out of a user's request, without ever being in its way.

``put`` appends to a bounded queue in memory and returns. A daemon thread takes what has gathered, writes it to Redis in
one pipeline, and sends the Celery messages. When Redis or the broker is away, items are dropped and counted, and the
log says so once a minute. A message that got lost is no loss: its execution is recorded, and recovery sends it again.
The same thread reads, every two seconds, what every process is to know, and hands in what was counted.
"""

from __future__ import annotations

import atexit
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from celery.signals import worker_process_shutdown

from livecheck_celery.delivery.items import Item, Noticed, Requested, Signalled
from livecheck_celery.delivery.publisher import Publisher
from livecheck_celery.delivery.shared_config import Watch
from livecheck_celery.errors import BrokerUnavailable, LiveCheckError, RedisUnavailable
from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.store.executions import BACKLOG, DUPLICATE
from livecheck_celery.store.store import Batch, Store
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

MAX_ITEMS: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
FLUSH_TIMEOUT: Final = 2.0
REFRESH_EVERY: Final = 2.0
INLINE_REFRESH_EVERY: Final = 60.0
_BATCH: Final = 500
#: Seconds in which a server that did not answer is not asked again, where that would hold up others.
_PAUSE: Final = 1.0
#: Seconds for which the thread waits after a failure.
_BREATH: Final = 0.2

#: Why something did not get through.
FULL, REDIS, BROKER, PAYLOAD, ERROR = "full", "redis", "broker", "payload", "error"
_REFUSED: Final = {
    DUPLICATE: "a test of that id is still open",
    BACKLOG: "too many tests of the case have no verdict yet (livecheck_max_open); are there workers enough?",
}


class Servers(NamedTuple):
    """Redis and the broker, each given up after a time."""

    store: Store
    publisher: Publisher


class Outbox:
    """The queue of this process, and the thread that empties it.

    Args:
        patient: for the thread, which may wait for a server that is busy for a moment.
        hurried: for a caller that has to send by itself, since no thread can be started.
        watch: is refreshed by the thread.
        max_items: items that may wait.

    Attributes:
        sent: items that Redis took.
        counts: how many did not get through, by reason. What counts as ``broker`` was recorded, and is sent later.
        awake: whether the thread runs.
    """

    def __init__(self, patient: Servers, hurried: Servers, watch: Watch, *, max_items: int = MAX_ITEMS) -> None:
        self._patient = patient
        self._hurried = hurried
        self._watch = watch
        self._max_items = max_items
        self.sent = 0
        self.counts: Counter[str] = Counter()
        self._throttle = Throttle()
        self.after_fork()
        renew_after_fork(self)
        atexit.register(self.flush)
        # Pool children end without running atexit handlers.
        worker_process_shutdown.connect(self._flush_child, weak=True)

    def after_fork(self) -> None:
        """Begin empty: what waits is the parent's to send."""
        self._queue: queue.SimpleQueue[Item | threading.Event] = queue.SimpleQueue()
        self._bytes = 0
        self._uncounted: Counter[str] = Counter()
        # A signal handler may run in the middle of a put, and put something itself.
        self._lock = threading.RLock()
        self.awake = False
        self._end = threading.Event()
        self._start_again_at = self._refresh_at = 0.0
        self._ask_again_at = {REDIS: 0.0, BROKER: 0.0}

    @property
    def _servers(self) -> Servers:
        return self._patient if self.awake else self._hurried

    @property
    def dropped(self) -> int:
        """Items that were given up."""
        return self.counts.total() - self.counts[BROKER]

    def put(self, item: Item) -> bool:
        """Take ``item`` for sending; False when there is no room and it was dropped."""
        if self._queue.qsize() >= self._max_items or self._bytes + item.size > MAX_BYTES:
            self.drop(1, FULL, "the outbox is full")
            return False
        with self._lock:
            self._bytes += item.size
        self._queue.put(item)
        if not self.awake:
            self.wake()
        return True

    def wake(self) -> None:
        """See that the thread runs; where threads are forbidden, do now what it would do."""
        if not self._start():
            self._work(wait=False)

    def drop(self, count: int, reason: str, why: str) -> None:
        """Count ``count`` items that did not get through, and say so at most once a minute for each reason."""
        with self._lock:
            self.counts[reason] += count
        self.count(f"dropped: {reason}", count)
        if self._throttle(reason):
            logger.warning("outbox: dropped %d triggers or signals so far: %s", self.counts[reason], why)

    def count(self, what: str, times: int = 1) -> None:
        """Add to what all processes count."""
        with self._lock:
            self._uncounted[what] += times

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait, at most ``timeout`` seconds, until what is here now has been sent or dropped; whether it has."""
        if not self.awake:
            if not self._queue.empty():
                self._work(wait=False)
            return self._queue.empty()
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout)

    def close(self) -> None:
        """Flush, and end the thread; a later `put` starts another."""
        self.flush()
        self._end.set()
        self.awake = False
        self._queue.put(threading.Event())

    def _flush_child(self, **_: object) -> None:
        self.flush()

    # -- the thread

    def _start(self) -> bool:
        with self._lock:
            if self.awake or time.monotonic() < self._start_again_at:
                return self.awake
            try:
                self._end = threading.Event()
                _start_thread(self._run, self._end)
            except RuntimeError as exc:
                self._start_again_at = time.monotonic() + _PAUSE
                if self._throttle("threads"):
                    logger.warning("outbox: works in the calling thread, as no other can be started: %s", exc)
            else:
                self.awake = True
            return self.awake

    def _run(self, end: threading.Event) -> None:
        while not end.is_set():
            if not self._work(wait=True):
                # What comes meanwhile gathers, and is not lost; connecting again for each item is what would cost most.
                end.wait(_BREATH)

    def _work(self, *, wait: bool) -> bool:
        """Send what is there, and see to the rest; False when Redis did not take it."""
        batch = list(self._gather(wait=wait))
        items = [one for one in batch if not isinstance(one, threading.Event)]
        taken = self._send(items) if items else True
        asked = len(batch) > len(items)
        if time.monotonic() >= self._refresh_at or (asked and self._uncounted):
            self._refresh()
        for one in batch:
            if isinstance(one, threading.Event):
                one.set()
        return taken

    def _gather(self, *, wait: bool) -> Iterator[Item | threading.Event]:
        try:
            if wait:
                yield self._queue.get(timeout=max(0.0, self._refresh_at - time.monotonic()))
            for _ in range(_BATCH):
                yield self._queue.get_nowait()
        except queue.Empty:
            return

    def _refresh(self) -> None:
        """Hand in what was counted, and read what every process is to know."""
        with self._lock:
            counted, self._uncounted = self._uncounted, Counter()
        try:
            if counted:
                self._servers.store.counters.add(counted)
                counted = Counter()
            self._watch.refresh()
        except LiveCheckError as exc:
            logger.debug("outbox: %s", exc)
        except Exception:
            if self._throttle("refresh"):
                logger.exception("outbox: what every process is to know could not be read")
        with self._lock:
            self._uncounted.update(counted)
        # Without a thread, a request waits for this.
        self._refresh_at = time.monotonic() + (REFRESH_EVERY if self.awake else INLINE_REFRESH_EVERY)

    def _send(self, items: list[Item]) -> bool:
        with self._lock:
            self._bytes -= sum(item.size for item in items)
        if not self.awake and time.monotonic() < self._ask_again_at[REDIS]:
            self.drop(len(items), REDIS, "Redis did not answer a moment ago")
            return False
        try:
            self._publish(self._record(items))
        except RedisUnavailable as exc:
            self._ask_again_at[REDIS] = time.monotonic() + _PAUSE
            self.drop(len(items), REDIS, str(exc))
            return False
        except Exception:
            # The thread must outlive whatever one batch does.
            self.drop(len(items), ERROR, "unexpected error")
            if self._throttle("batch"):
                logger.exception("outbox: a batch could not be sent")
            return False
        self.sent += len(items)
        return True

    def _record(self, items: list[Item]) -> list[TestExecution]:
        """Write ``items`` in one pipeline; the tests that are new and need a message."""
        requested = [item for item in items if isinstance(item, Requested)]
        with self._servers.store.batch() as batch:
            for item in requested:
                batch.record(item.test, expires_in=item.expires_in)
            for other in items:
                if isinstance(other, Signalled):
                    batch.signal(other.event, ttl=other.ttl)
                elif isinstance(other, Noticed):
                    self._resolve(batch, other)
        recorded, refused = [], Counter[str]()
        for item, outcome in zip(requested, batch.outcomes, strict=False):
            if isinstance(outcome, float):
                recorded.append(replace(item.test, recorded_at=outcome))
            else:
                refused[outcome] += 1
        for reason, count in refused.items():
            self.drop(count, reason, _REFUSED[reason])
        return recorded

    def _resolve(self, batch: Batch, noticed: Noticed) -> None:
        if self._watch.wanted is None:
            self._watch.refresh()
        targets = self._watch.wanted.targets(noticed.source) if self._watch.wanted else ()
        for test in noticed.tests:
            for case_name, signal_name in targets:
                if case_name == test.case_name:
                    event = SignalEvent(signal_name, case_name, test.id, noticed.value, noticed.error)
                    batch.signal(event, ttl=0.0)

    def _publish(self, tests: list[TestExecution]) -> None:
        if not tests:
            return
        try:
            if time.monotonic() >= self._ask_again_at[BROKER]:
                self._servers.publisher.execute_all(tests)
                return
            why = "it did not answer a moment ago"
        except BrokerUnavailable as exc:
            self._ask_again_at[BROKER] = time.monotonic() + _PAUSE
            why = str(exc)
        with self._lock:
            self.counts[BROKER] += len(tests)
        self.count(f"late: {BROKER}", len(tests))
        if self._throttle(BROKER):
            logger.warning("outbox: tests are recorded, and left to recovery to send: %s", why)


def _start_thread(run: Callable[[threading.Event], object], end: threading.Event) -> None:
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not (uwsgi.opt.get("enable-threads") or uwsgi.opt.get("threads")):
        raise RuntimeError("uWSGI starts threads, but runs none without enable-threads")
    threading.Thread(target=run, args=(end,), name="livecheck-outbox", daemon=True).start()
