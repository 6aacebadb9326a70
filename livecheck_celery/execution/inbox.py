"""Deliver signals to the executions that wait in this process: thousands of waiters, one connection.

A signal is stored first and published second. Claiming an execution registers this process's address with the test's
signals and returns those already stored, in one Lua call, so no signal is lost between reading and subscribing. The
published message has the value. The message only saves time: after a reconnect, and before a timeout, one batched read
of all awaited signals finds those whose message was missed. The periodic read, every two seconds, finds the others. It
reads each signal at intervals that double up to ten seconds, since reads of thousands of waiting tests are a large part
of Redis' load, and messages are seldom missed.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Final

from pydantic import ValidationError

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import EVENT, SignalEvent
from livecheck_celery.store.encoding import is_left
from livecheck_celery.store.signals import Subscription
from livecheck_celery.store.store import Store
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.interruption import Interruption
from livecheck_celery.utils.jitter import around
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle, ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds between two reads of awaited signals, which find missed messages.
BACKSTOP: Final = 2.0
#: Longest time between two reads of one signal, in seconds; one that has been awaited for less than half of `BACKSTOP`
#: is not read yet.
BACKSTOP_AT_MOST: Final = 10.0
#: Seconds between two pings, while tests run.
PING: Final = 0.5
#: Seconds without an answer after which there was no contact with Redis.
SILENCE: Final = 1.0
#: Number of outages that are remembered; a longer wait counts those before at most once more.
_OUTAGES: Final = 1_000
#: Seconds before the first attempt to reconnect, and the longest delay between two.
_RECONNECT_MIN: Final = 0.1
_RECONNECT_MAX: Final = 5.0
#: Seconds the thread waits for a message before it checks whether it must stop.
_TICK: Final = 0.1


class Interrupted(BaseException):
    """This process is stopping, and another worker takes over the test; user code must not catch this."""


class Mailbox:
    """The signals of one test that this process has received."""

    def __init__(self, case_name: str, key: str) -> None:
        self.case_name = case_name
        self.key = key
        self.users = 0
        self.events: dict[str, SignalEvent] = {}
        self._lock = threading.Lock()
        self._waiters: dict[str, list[Future[SignalEvent]]] = {}
        self._reads: dict[str, _Backstop] = {}

    def expect(self, name: str) -> Future[SignalEvent]:
        """Return a future of the signal ``name``; it is done if the signal has been received."""
        future: Future[SignalEvent] = Future()
        with self._lock:
            event = self.events.get(name)
            if event is None:
                if name not in self._waiters:
                    self._waiters[name], self._reads[name] = [], _Backstop(time.monotonic())
                self._waiters[name].append(future)
                return future
        future.set_result(event)
        return future

    def forget(self, name: str, future: Future[SignalEvent]) -> None:
        """Drop a future that `expect` returned."""
        with self._lock:
            waiting = self._waiters.get(name, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiters.pop(name, None)

    def end(self, name: str, future: Future[SignalEvent]) -> None:
        """Wake the waiter of a test that has ended, by a `RuntimeError`."""
        with self._lock:
            if future not in self._waiters.get(name, []):
                return  # it has its signal
            self._waiters[name].remove(future)
        _settle(future, RuntimeError(f"signal {name}: the test that waits for it has ended"))

    def deliver(self, event: SignalEvent) -> None:
        """Store ``event`` and wake its waiters."""
        with self._lock:
            known = self.events.get(event.signal_name)
            if known is not None and (known.received_at or 0.0) > (event.received_at or 0.0):
                return  # read before the message of a later arrival was received
            self.events[event.signal_name] = event
            waiting = self._waiters.pop(event.signal_name, [])
        for future in waiting:
            _settle(future, event)

    def awaited(self) -> list[str]:
        """Return the names of the signals that are waited for."""
        with self._lock:
            return [name for name, waiting in self._waiters.items() if waiting]

    def overdue(self, now: float) -> list[str]:
        """Return the names of the signals that are waited for, and that the periodic read at ``now`` has to read."""
        with self._lock:
            return [name for name, waiting in self._waiters.items() if waiting and self._reads[name].is_due(now)]

    def interrupt(self) -> None:
        """Wake every waiter with `Interrupted`."""
        with self._lock:
            waiting = [future for futures in self._waiters.values() for future in futures]
            self._waiters.clear()
        for future in waiting:
            _settle(future, Interrupted("the worker is stopping"))


def _settle(future: Future[SignalEvent], outcome: SignalEvent | BaseException) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class _Backstop:
    """When the periodic read has to read an awaited signal; the intervals double."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._next = since + BACKSTOP / 2

    def is_due(self, now: float) -> bool:
        if now < self._next:
            return False
        self._next = now + min(max(now - self._since, BACKSTOP / 2), BACKSTOP_AT_MOST)
        return True


class Inbox:
    """All mailboxes of this process, and the thread that fills them."""

    def __init__(self, store: Store, interruption: Interruption) -> None:
        """Interrupt waiting tests at the time of ``interruption``, and refuse new ones once it is set."""
        self._store = store
        self._interruption = interruption
        self._throttle = Throttle()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start without mailboxes, at a new address."""
        self.address = uuid.uuid4().hex
        self._stopping = False
        self._lock = threading.Lock()
        self._mailboxes: dict[tuple[str, str], Mailbox] = {}
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()
        self._contact_at = time.monotonic()
        self._outages: deque[tuple[float, float]] = deque(maxlen=_OUTAGES)
        self._reads: list[Future[None]] = []

    def open(self, case_name: str, key: str) -> Mailbox:
        """Open the mailbox of a test; call it before its signals are read, and `close` after use.

        Raises:
            Interrupted: this process is stopping.
        """
        self._listen()
        with self._lock:
            if self._stops():
                raise Interrupted("the worker is stopping")
            if not self._mailboxes:
                self._contact_at = time.monotonic()  # without tests, the process does not check
            mailbox = self._mailboxes.setdefault((case_name, key), Mailbox(case_name, key))
            mailbox.users += 1
            return mailbox

    def close(self, mailbox: Mailbox) -> None:
        """Release a mailbox that `open` returned; the last user removes it."""
        with self._lock:
            mailbox.users -= 1
            if not mailbox.users:
                self._mailboxes.pop((mailbox.case_name, mailbox.key), None)

    def stop(self) -> None:
        """Refuse new tests, and interrupt waiting ones within a second; the thread ends with the last mailbox."""
        self._stopping = True

    def reopen(self) -> None:
        """Accept tests again after `stop`."""
        self._stopping = False

    def join(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout)

    def outage_since(self, moment: float) -> float:
        """Return the seconds without contact with Redis since ``moment``, a monotonic time."""
        with self._lock:
            now, last = time.monotonic(), self._contact_at
            outages = [*self._outages, (last, now)] if now - last > SILENCE else list(self._outages)
        return sum(max(0.0, end - max(begin, moment)) for begin, end in outages)

    def read_awaited_soon(self) -> Future[None]:
        """Read all awaited signals; the future is done when those that are stored were delivered."""
        future: Future[None] = Future()
        with self._lock:
            self._reads.append(future)
        return future

    def _in_contact(self) -> None:
        """Note that Redis has answered, and the outage that has ended by that."""
        now = time.monotonic()
        with self._lock:
            if now - self._contact_at > SILENCE and self._mailboxes:
                self._outages.append((self._contact_at, now))
            self._contact_at = now

    def _listen(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._subscribed.clear()
                self._thread = threading.Thread(target=self._run, name="livecheck-inbox", daemon=True)
                self._thread.start()
        # Without the subscription, the periodic read still finds all signals, but later.
        self._subscribed.wait(BACKSTOP)

    def _run(self) -> None:
        delay = _RECONNECT_MIN
        while not self._is_finished():
            try:
                self._subscribed.clear()
                with self._store.signals.subscription(self.address) as subscription:
                    self._receive(subscription)
            except (RedisUnavailable, OSError) as exc:
                if self._subscribed.is_set():
                    delay = _RECONNECT_MIN
                if self._throttle("subscription"):
                    logger.warning("inbox: subscription lost: %s; reconnecting in %.1f s", exc, delay)
                self._pause(delay)
                delay = min(delay * 2, _RECONNECT_MAX)
        self._subscribed.set()  # whoever waits for it learns that the process stops

    def _receive(self, subscription: Subscription) -> None:
        read_at, pinged_at = 0.0, time.monotonic()
        answered = is_new = True
        while not self._is_finished():
            received = subscription.receive(_TICK)
            if received is not None:
                answered = True
                self._in_contact()
            self._interrupt_if_stopping()
            if received is not None and received.kind == "subscribed":
                self._subscribed.set()
                read_at, is_new = 0.0, True
            elif received is not None and received.kind == "signal":
                self._on_signal(received.event)
            if self._reads:
                self._read_awaited()
            if time.monotonic() >= pinged_at + PING and self._mailboxes:
                subscription.ping()
                pinged_at = time.monotonic()
            if time.monotonic() >= read_at:
                if not answered:
                    # A frozen server or a broken network does not close the connection; there may be a new primary.
                    raise RedisUnavailable("no answer on the subscription")
                answered = False
                subscription.ping()
                self._read_awaited(only_overdue=not is_new)
                pinged_at = time.monotonic()
                read_at, is_new = pinged_at + around(BACKSTOP), False

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._is_finished() and (left := end - time.monotonic()) > 0:
            self._interrupt_if_stopping()
            time.sleep(min(_TICK, left))

    def _interrupt_if_stopping(self) -> None:
        if self._stopping or self._interruption.is_due:
            for mailbox in self._open_mailboxes():
                mailbox.interrupt()

    def _on_signal(self, data: str) -> None:
        if is_left(data):
            return  # the next read of the awaited signals says so
        try:
            event = EVENT.validate_json(data)
        except ValidationError:
            throttled.warning("inbox: ignored a message that is not a signal event: %.200r", data)
            return
        self._deliver([event])

    def _is_finished(self) -> bool:
        return self._stops() and not self._open_mailboxes()

    def _stops(self) -> bool:
        return self._stopping or self._interruption.is_requested

    def _open_mailboxes(self) -> list[Mailbox]:
        with self._lock:
            return list(self._mailboxes.values())

    def _read_awaited(self, *, only_overdue: bool = False) -> None:
        with self._lock:
            reads, self._reads = self._reads, []
        now = time.monotonic()
        wanted = [
            (box.case_name, box.key, names)
            for box in self._open_mailboxes()
            if (names := box.overdue(now) if only_overdue and not reads else box.awaited())
        ]
        try:
            if wanted:
                for events in self._store.signals.awaited(wanted):
                    self._deliver(events.values())
                self._in_contact()
        except BaseException:
            with self._lock:
                self._reads += reads
            raise
        for future in reads:
            future.set_result(None)

    def _deliver(self, events: Iterable[SignalEvent]) -> None:
        for event in events:
            with self._lock:
                mailbox = self._mailboxes.get((event.case_name, event.key))
            if mailbox is not None:
                mailbox.deliver(event)
