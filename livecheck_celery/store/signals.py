"""Signals in Redis: stored first, published second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any, Final, Literal, NamedTuple

from pydantic import ValidationError

from livecheck_celery.models import EVENT, SignalEvent
from livecheck_celery.store.database import FORGET_AFTER, REPORT_TTL, Database, as_dict
from livecheck_celery.store.encoding import event_json, is_left
from livecheck_celery.store.keys import inbox
from livecheck_celery.store.scripts import Call, Script

#: Minimum seconds for which a signal is kept, until its test is recorded.
SIGNAL_TTL: Final = 60

#: Why a signal was not stored.
STALE, OVERFLOW = "stale", "overflow"
#: Maximum number of ids, in each case, that have signals but no record; and maximum bytes of their signals.
MAX_UNRECORDED: Final = 10_000
MAX_UNRECORDED_BYTES: Final = 32 * 1024 * 1024
#: Maximum number of fields of the signals of one id; each signal has two, each process that listens has one.
MAX_FIELDS: Final = 1_000
#: Reports of a case about signals that arrived again after the verdict.
MAX_LATE: Final = 1_000

SEND_SIGNAL: Final = Script(
    "send_signal",
    keys=("signals", "test", "unrecorded", "unrecorded_bytes", "late", "suite"),
    args=(
        "id",
        "name",
        "event",
        "use",
        "send_id",
        "ttl",
        "inbox",
        "forget_after",
        "max_fields",
        "max_ids",
        "max_bytes",
        "case_name",
        "max_late",
        "report_ttl",
        "max_open_bytes",
    ),
)
DROP_SIGNALS: Final = Script("drop_signals", keys=("signals", "test"))
LISTEN: Final = Script("listen", keys=("signals", "test"), args=("address", "ttl"))


class Received(NamedTuple):
    """A message on a subscription.

    Attributes:
        kind: ``subscribed`` (first, and again after redis-py reconnected), ``signal``, or ``pong`` (reply to a ping).
        event: the SignalEvent as JSON; empty for the other kinds.
    """

    kind: Literal["subscribed", "signal", "pong"]
    event: str = ""


class Subscription:
    """Signals that are published to one process; not thread-safe."""

    def __init__(self, database: Database, pubsub: Any) -> None:
        self._database = database
        self._pubsub = pubsub

    def receive(self, timeout: float) -> Received | None:
        """Wait up to ``timeout`` seconds for the next message; return None if there was none.

        Raises:
            RedisUnavailable: the connection is lost.
        """
        with self._database.errors_translated():
            message = self._pubsub.get_message(timeout=timeout)
        if message is None:
            return None
        if message["type"] == "message":
            return Received("signal", message["data"])
        return Received("subscribed" if message["type"] == "subscribe" else "pong")

    def ping(self) -> None:
        """Ask the server for a pong.

        Raises:
            RedisUnavailable: the connection is lost.
        """
        with self._database.errors_translated():
            self._pubsub.ping()


class Signals:
    """Signals of tests, and which processes listen for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def send(self, event: SignalEvent, *, ttl: float) -> str | None:
        """Store a signal, and publish it to the processes that listen.

        The signal is kept for at least ``ttl`` seconds and at least a minute; if its test is recorded, until the test
        expires; if its test has a verdict, for two minutes instead. The event is stored and published as JSON, with
        ``received_at``, ``arrivals`` and ``first_at``. A later signal of the same name replaces it; a repeated call
        with the same ``send_id`` changes nothing.

        Returns:
            None; or why it was not stored: `STALE`, it belongs to another test of that id; `OVERFLOW`, the signals of
            the case are over a limit of number or bytes.

        Raises:
            RedisUnavailable: Redis did not answer; the signal may have been stored.
        """
        reply = self._database.repeat_if_cut(partial(self._database.run, self.send_call(event, ttl=ttl)))
        if isinstance(reply, str):
            return reply
        self.drop(event.case_name, reply[1:])
        return None

    def send_call(self, event: SignalEvent, *, ttl: float) -> Call:
        """Build the call of `send`; the reply is a reason, or a list: ``received_at``, and ids for `drop`."""
        keys = self._database.keys
        return SEND_SIGNAL(
            signals=keys.signals(event.case_name, event.key),
            test=keys.test(event.case_name, event.key),
            unrecorded=keys.unrecorded(event.case_name),
            unrecorded_bytes=keys.unrecorded_bytes(event.case_name),
            late=keys.late(event.case_name),
            suite=keys.suite(event.case_name),
            id=event.key,
            name=event.signal_name,
            event=event_json(event),
            use=event.use,
            send_id=event.send_id,
            ttl=max(SIGNAL_TTL, ceil(ttl)),
            inbox=keys.inboxes,
            forget_after=FORGET_AFTER,
            max_fields=MAX_FIELDS,
            max_ids=MAX_UNRECORDED,
            max_bytes=MAX_UNRECORDED_BYTES,
            case_name=event.case_name,
            max_late=min(self._database.report_limits["max_reports"], MAX_LATE),
            report_ttl=REPORT_TTL,
            max_open_bytes=self._database.settings.max_open_bytes,
        )

    def drop(self, case_name: str, test_ids: Sequence[str]) -> None:
        """Drop the signals of ids that have no record, and that no test waits for.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        self._database.run_all(
            [DROP_SIGNALS(signals=keys.signals(case_name, one), test=keys.test(case_name, one)) for one in test_ids]
        )

    def listen(self, case_name: str, key: str, address: str, *, ttl: float) -> dict[str, SignalEvent]:
        """Publish the signals of test ``key`` to the process at ``address``, for ``ttl`` seconds from now.

        Returns:
            The signals that have arrived so far, by name.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        redis_key, test_key = keys.signals(case_name, key), keys.test(case_name, key)
        call = LISTEN(signals=redis_key, test=test_key, address=address, ttl=max(SIGNAL_TTL, ceil(ttl)))
        found = self._database.run(call)
        return read_signals(redis_key, case_name, key, as_dict(found))

    def awaited(self, wanted: Sequence[tuple[str, str, Sequence[str]]]) -> list[dict[str, SignalEvent]]:
        """Read awaited signals; return those that have arrived, by name, for each item of ``wanted``.

        Args:
            wanted: case name, test id and at least one signal name, for each test.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        pipeline = self._database.pipeline()
        for case, key, names in wanted:
            pipeline.hmget(keys.signals(case, key), list(names))
        replies = self._database.execute(pipeline)
        found = []
        for (case, key, names), values in zip(wanted, replies, strict=True):
            stored = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            found.append(read_signals(keys.signals(case, key), case, key, stored))
        return found

    @contextmanager
    def subscription(self, address: str) -> Iterator[Subscription]:
        """Subscribe to the signals that are published to the process at ``address``, on a separate connection.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        database = self._database
        client: Any = database.client  # redis-py leaves pubsub() untyped
        with database.errors_translated(), client.pubsub() as pubsub:
            pubsub.subscribe(inbox(database.settings.prefix, address))
            yield Subscription(database, pubsub)


def read_signals(redis_key: str, case_name: str, key: str, stored: Mapping[str, str]) -> dict[str, SignalEvent]:
    """Parse the signals in a stored hash, by name.

    A signal that cannot be parsed becomes an event with an error, so that only the test that awaits it fails.
    """
    signals = {}
    for name, text in stored.items():
        if name[:1] in ">+~":
            continue
        if is_left(text):
            problem = f"signal {name} was sent by a newer version of LiveCheck; upgrade this worker"
            signals[name] = SignalEvent(name, case_name, key, error=problem)
            continue
        try:
            signals[name] = EVENT.validate_json(text)
        except ValidationError:
            problem = f"Redis key {redis_key}, field {name}, holds something LiveCheck did not write"
            signals[name] = SignalEvent(name, case_name, key, error=problem)
    return signals
