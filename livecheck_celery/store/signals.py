"""Signals in Redis: stored first, announced second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

from pydantic import ValidationError
from redis.client import Pipeline

from livecheck_celery.models import EVENT, SignalEvent
from livecheck_celery.store.database import FORGET_AFTER, Part
from livecheck_celery.store.scripts import Argument

#: Seconds a signal is kept at least: time for its test to be recorded.
SIGNAL_TTL: Final = 60


class Arrivals(Part):
    """Signals of tests, and which processes listen for them."""

    def signal(self, event: SignalEvent, *, ttl: float) -> None:
        """Store a signal for at least ``ttl`` seconds and a minute, and publish it to the processes that listen.

        While its test has no verdict, it is kept at least until that expires; when it has one, for two minutes.
        What is stored and published is the event as JSON, with ``received_at``. Of two signals of one name the
        later stands.

        Raises:
            RedisUnavailable: Redis did not take it.
        """
        self._run(self._scripts.signal, *self._signal_call(event, ttl))

    def queue_signal(self, pipeline: Pipeline, event: SignalEvent, *, ttl: float) -> None:
        """Have ``pipeline`` do what `signal` does."""
        self._scripts.signal(*self._signal_call(event, ttl), pipeline)

    def _signal_call(self, event: SignalEvent, ttl: float) -> tuple[list[str], list[Argument]]:
        text = EVENT.dump_json(event, exclude={"received_at"}).decode()
        keys = [self.keys.signals(event.case_name, event.key), self.keys.test(event.case_name, event.key)]
        return keys, [event.signal_name, text, max(SIGNAL_TTL, ceil(ttl)), self.keys.inboxes, FORGET_AFTER]

    def listen(self, case_name: str, key: str, address: str, *, ttl: float) -> dict[str, SignalEvent]:
        """Have the signals of test ``key`` published to the process at ``address`` for ``ttl`` seconds.

        Returns those that have arrived so far, by name.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        redis_key = self.keys.signals(case_name, key)
        found = self._run(self._scripts.listen, [redis_key], [address, max(SIGNAL_TTL, ceil(ttl))])
        return read_signals(redis_key, case_name, key, dict(zip(found[::2], found[1::2], strict=True)))

    def awaited(self, wanted: Sequence[tuple[str, str, Sequence[str]]]) -> list[dict[str, SignalEvent]]:
        """For each (case name, test id, at least one signal name): those of them that have arrived, by name.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        pipeline = self.client.pipeline(transaction=False)
        for case, key, names in wanted:
            pipeline.hmget(self.keys.signals(case, key), list(names))
        with self.reaching():
            replies = pipeline.execute()
        found = []
        for (case, key, names), values in zip(wanted, replies, strict=True):
            stored = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            found.append(read_signals(self.keys.signals(case, key), case, key, stored))
        return found


def read_signals(redis_key: str, case_name: str, key: str, stored: Mapping[str, str]) -> dict[str, SignalEvent]:
    """The signals in a hash as it is stored.

    One that cannot be read becomes an event with an error, so that only the test that needs it fails.
    """
    signals = {}
    for name, text in stored.items():
        if name.startswith(">"):
            continue
        try:
            signals[name] = EVENT.validate_json(text)
        except ValidationError:
            problem = f"Redis key {redis_key}, field {name}, holds something LiveCheck did not write"
            signals[name] = SignalEvent(name, case_name, key, error=problem)
    return signals
