"""Send triggers and signals from a user's request without blocking it.

``put`` appends an item to a bounded in-memory queue and returns. A daemon thread takes the queued items, writes them to
Redis in one pipeline, and sends the Celery messages. While Redis or the broker is unavailable, items are dropped,
counted, and logged once a minute. A lost message loses no test: its execution is recorded, and recovery re-sends it.
Every two seconds the same thread refreshes the shared configuration and adds its counts to the shared counters.
"""

from __future__ import annotations

import atexit
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from celery.signals import worker_process_shutdown

from livecheck_celery.delivery.items import Item, RequestedTest
from livecheck_celery.delivery.publisher import Publisher
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.delivery.writes import write
from livecheck_celery.errors import BrokerUnavailable, LiveCheckError, RedisUnavailable, UnreadableKey
from livecheck_celery.models import TestExecution
from livecheck_celery.store.executions import BACKLOG, DUPLICATE, RATE
from livecheck_celery.store.signals import OVERFLOW, STALE
from livecheck_celery.store.store import Store
from livecheck_celery.utils.compat import connect_method
from livecheck_celery.utils.forks import at_exit_of_child, renew_after_fork
from livecheck_celery.utils.jitter import around
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

MAX_ITEMS: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
FLUSH_TIMEOUT: Final = 2.0
REFRESH_EVERY: Final = 2.0
INLINE_REFRESH_EVERY: Final = 60.0
_BATCH: Final = 500
#: Seconds between attempts to use an unavailable server, where an attempt would delay a caller or other items.
_RETRY_AFTER: Final = 1.0
#: Seconds the thread waits after a failed batch.
_BACKOFF: Final = 0.2

#: Reasons for which an item is not sent.
FULL, REDIS, BROKER, PAYLOAD, ERROR = "full", "redis", "broker", "payload", "error"
#: Items that Redis may have accepted, since only its answer is missing.
UNCONFIRMED: Final = "unconfirmed"
_REFUSED: Final = {
    DUPLICATE: "a test of that id has no verdict yet",
    BACKLOG: "too many tests of the case have no verdict (livecheck_max_open, livecheck_max_open_bytes); start more "
    "workers",
    RATE: "too many tests of the case a second (max_rate)",
    STALE: "the signal belongs to another test of its id",
    OVERFLOW: "too many signals without a test that runs, or too many bytes of signals (livecheck_max_open_bytes)",
}


class Servers(NamedTuple):
    """A store and a publisher with the same timeout."""

    store: Store
    publisher: Publisher


class Outbox:
    """The queue of triggers and signals of this process, and the thread that sends them.

    Args:
        threaded: servers for the thread; their timeout tolerates a server that is busy for a moment.
        inline: servers for a caller, where no thread can be started; their timeout is short.
        shared_config: refreshed by the thread.
        max_items: limit of queued items.

    Attributes:
        sent: number of items Redis accepted.
        counts: number of items not sent, by reason. Those under ``broker`` are recorded, and recovery sends them; those
            under ``unconfirmed`` may have been sent.
        running: whether the thread runs.
    """

    def __init__(
        self, threaded: Servers, inline: Servers, shared_config: SharedConfig, *, max_items: int = MAX_ITEMS
    ) -> None:
        self._threaded = threaded
        self._inline = inline
        self._shared_config = shared_config
        self._max_items = max_items
        self.sent = 0
        self.counts: Counter[str] = Counter()
        self._throttle = Throttle()
        self.after_fork()
        renew_after_fork(self)
        atexit.register(self.flush)
        # Children of a prefork pool do not run atexit handlers.
        connect_method(worker_process_shutdown, self._flush_child, weak=True)

    def after_fork(self) -> None:
        """Start with an empty queue: the parent sends its own items."""
        self._queue: queue.SimpleQueue[Item | threading.Event] = queue.SimpleQueue()
        self._bytes = 0
        self._uncounted: Counter[str] = Counter()
        # Reentrant: a signal handler can interrupt put() and call it.
        self._lock = threading.RLock()
        self.running = False
        self._end = threading.Event()
        self._start_thread_at = self._refresh_at = 0.0
        self._retry_at = {REDIS: 0.0, BROKER: 0.0}

    @property
    def _servers(self) -> Servers:
        return self._threaded if self.running else self._inline

    @property
    def dropped(self) -> int:
        """Number of dropped items."""
        return self.counts.total() - self.counts[BROKER] - self.counts[UNCONFIRMED]

    def put(self, item: Item) -> bool:
        """Queue ``item``; return False if the queue is full and the item was dropped."""
        size = item.size
        if self._queue.qsize() >= self._max_items or self._bytes + size > MAX_BYTES:
            self.drop(1, FULL, "the outbox is full")
            return False
        with self._lock:
            self._bytes += size
        self._queue.put(item)
        if not self.running:
            self.start()
        return True

    def start(self) -> None:
        """Start the thread; where no thread can be started, send the queued items in the calling thread."""
        if not self._start_thread():
            self._work(wait=False)

    def drop(self, count: int, reason: str, why: str) -> None:
        """Count ``count`` dropped items, and log it once a minute for each reason."""
        with self._lock:
            self.counts[reason] += count
        self.count(f"dropped: {reason}", count)
        if self._throttle(reason):
            logger.warning("outbox: dropped %d items so far (%s): %s", self.counts[reason], reason, why)

    def count(self, what: str, times: int = 1) -> None:
        """Add ``times`` to the shared counter ``what``."""
        with self._lock:
            self._uncounted[what] += times

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait up to ``timeout`` seconds until all queued items are sent or dropped; return whether they are."""
        if not self.running:
            if not self._queue.empty():
                self._work(wait=False)
            return self._queue.empty()
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout)

    def close(self) -> None:
        """Flush, and stop the thread; a later `put` starts another."""
        self.flush()
        self._end.set()
        self.running = False
        self._queue.put(threading.Event())

    def _flush_child(self, **_: object) -> None:
        self.flush()

    # -- the thread

    def _start_thread(self) -> bool:
        with self._lock:
            if self.running or time.monotonic() < self._start_thread_at:
                return self.running
            try:
                self._end = threading.Event()
                _spawn(self._run, self._end)
            except RuntimeError as exc:
                self._start_thread_at = time.monotonic() + _RETRY_AFTER
                if self._throttle("threads"):
                    logger.warning("outbox: cannot start a thread, sending in the calling thread: %s", exc)
            else:
                self.running = True
                at_exit_of_child(self.flush)
            return self.running

    def _run(self, end: threading.Event) -> None:
        while not end.is_set():
            if not self._work(wait=True):
                # Without a pause, each queued item would cost an attempt to connect.
                end.wait(_BACKOFF)

    def _work(self, *, wait: bool) -> bool:
        """Send the queued items and refresh if due; return False if Redis did not accept the items."""
        batch = list(self._gather(wait=wait))
        items = [one for one in batch if not isinstance(one, threading.Event)]
        accepted = self._send(items) if items else True
        flushing = len(batch) > len(items)
        if time.monotonic() >= self._refresh_at or (flushing and self._uncounted):
            self._refresh()
        for one in batch:
            if isinstance(one, threading.Event):
                one.set()
        return accepted

    def _gather(self, *, wait: bool) -> Iterator[Item | threading.Event]:
        try:
            if wait:
                yield self._queue.get(timeout=max(0.0, self._refresh_at - time.monotonic()))
            for _ in range(_BATCH):
                yield self._queue.get_nowait()
        except queue.Empty:
            return

    def _refresh(self) -> None:
        """Add the counts to the shared counters, and refresh the shared configuration."""
        with self._lock:
            counted, self._uncounted = self._uncounted, Counter()
        try:
            if counted:
                try:
                    self._servers.store.counters.add(counted)
                    counted = Counter()
                except UnreadableKey as exc:
                    logger.debug("outbox: %s", exc)
            self._shared_config.refresh()
        except LiveCheckError as exc:
            logger.debug("outbox: %s", exc)
        except Exception as exc:
            reraise_from_handler(exc)
            if self._throttle("refresh"):
                logger.exception("outbox: failed to refresh the shared configuration")
        with self._lock:
            self._uncounted.update(counted)
        # Without a thread, a request waits for the refresh.
        self._refresh_at = time.monotonic() + around(REFRESH_EVERY if self.running else INLINE_REFRESH_EVERY)

    def _send(self, items: list[Item]) -> bool:
        with self._lock:
            self._bytes -= sum(item.size for item in items)
        if not self.running and time.monotonic() < self._retry_at[REDIS]:
            self.drop(len(items), REDIS, "Redis did not answer within the last second")
            return False
        try:
            outcomes = write(items, self._servers.store, self._shared_config)
        except RedisUnavailable as exc:
            self._retry_at[REDIS] = time.monotonic() + _RETRY_AFTER
            self._drop_unavailable(len(items), exc)
            return False
        except Exception as exc:  # noqa: BLE001 - one failed batch must not end the thread
            reraise_from_handler(exc)
            outcomes = [(item, exc) for item in items]
        recorded, accepted = [], 0
        for item, outcome in outcomes:
            if not isinstance(outcome, float):
                self._drop_failed(outcome)
                continue
            accepted += 1
            if isinstance(item, RequestedTest):
                recorded.append(item.test.recorded(outcome))
        self.sent += accepted
        self._publish(recorded)
        return accepted > 0

    def _drop_failed(self, outcome: str | Exception) -> None:
        if isinstance(outcome, RedisUnavailable):
            self._drop_unavailable(1, outcome)
        elif isinstance(outcome, Exception):
            self.drop(1, ERROR, "unexpected error")
            self._log_error("failed to send an item", outcome)
        else:
            self.drop(1, outcome, _REFUSED[outcome])

    def _drop_unavailable(self, count: int, error: RedisUnavailable) -> None:
        if not error.unconfirmed:
            self.drop(count, REDIS, str(error))
            return
        with self._lock:
            self.counts[UNCONFIRMED] += count
        self.count(f"{UNCONFIRMED}: {REDIS}", count)
        if self._throttle(UNCONFIRMED):
            total = self.counts[UNCONFIRMED]
            logger.warning("outbox: %d items so far sent to Redis, which did not confirm them: %s", total, error)

    def _log_error(self, what: str, error: Exception) -> None:
        if self._throttle(what):
            logger.error("outbox: %s", what, exc_info=error)

    def _publish(self, tests: list[TestExecution]) -> None:
        if not tests:
            return
        late, why = len(tests), "the broker did not answer within the last second"
        if time.monotonic() >= self._retry_at[BROKER]:
            try:
                late, why = self._execute_all(tests), "a message cannot be encoded"
            except BrokerUnavailable as exc:
                self._retry_at[BROKER] = time.monotonic() + _RETRY_AFTER
                why = str(exc)
        if not late:
            return
        with self._lock:
            self.counts[BROKER] += late
        self.count(f"late: {BROKER}", late)
        if self._throttle(BROKER):
            logger.warning("outbox: tests recorded but not sent, recovery sends them: %s", why)

    def _execute_all(self, tests: list[TestExecution]) -> int:
        """Publish the messages of ``tests``; return how many have none, since they cannot be encoded."""
        try:
            self._servers.publisher.execute_all(tests)
        except BrokerUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - one failed message must not end the thread
            reraise_from_handler(exc)
            self._log_error("failed to encode a message", exc)
            # A message that was sent twice is executed once.
            return 1 if len(tests) == 1 else sum(self._execute_all([test]) for test in tests)
        return 0


def _spawn(run: Callable[[threading.Event], object], end: threading.Event) -> None:
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not (uwsgi.opt.get("enable-threads") or uwsgi.opt.get("threads")):
        raise RuntimeError("uWSGI does not run threads without enable-threads")
    threading.Thread(target=run, args=(end,), name="livecheck-outbox", daemon=True).start()
