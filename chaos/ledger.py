"""The independent ledger: what was triggered, and what each signal carried, in a Redis that nothing befalls.

What is about to be done is written down before, what came of it after; so the ledger never knows less than there is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import redis

from chaos.plan import Order

_ORDERS: Final = "orders"
_PULSES: Final = "pulses"
_HUSHED: Final = "hushed"
_NOTED: Final = "noted:"


@dataclass
class Entry:
    """What is known of one test.

    Attributes:
        id: of the test.
        order: what it tests; None for one that a fake request triggered.
        known: whether it is certain that it was triggered; if not, it may have been.
        sent: by signal, the value it carries, written down before it was sent.
        taken: by signal, when it was known that Redis had taken it, in seconds since the epoch.
        strays: what should not have been seen, such as another test's identity.
    """

    id: str
    order: Order | None
    known: bool = False
    sent: dict[str, str] = field(default_factory=dict)
    taken: dict[str, float] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)


class Ledger:
    """Notes, by any process of a run."""

    def __init__(self, url: str) -> None:
        self._client: redis.Redis = redis.Redis.from_url(url, decode_responses=True)

    # -- while it runs

    def will_order(self, order: Order) -> None:
        """Note that ``order`` is about to be placed."""
        self._client.hset(_ORDERS, order.id, json.dumps(asdict(order)))

    def will_pulse(self, test_id: str) -> None:
        """Note that a fake request is about to trigger a test."""
        self._client.hset(_PULSES, test_id, time.time())

    def triggered(self, test_id: str) -> None:
        """Note that a test has been triggered for certain."""
        self._client.hset(_NOTED + test_id, "known", time.time())

    def will_send(self, test_id: str, signal: str, value: str) -> None:
        """Note that a signal is about to be sent."""
        self._client.hset(_NOTED + test_id, f"sent:{signal}", value)

    def taken(self, test_id: str, signal: str) -> None:
        """Note that Redis has taken a signal."""
        self._client.hsetnx(_NOTED + test_id, f"taken:{signal}", str(time.time()))

    def stray(self, test_id: str, what: str) -> None:
        """Note something that should not have been seen."""
        self._client.hset(_NOTED + test_id, f"stray:{what}", "")

    def hush(self) -> None:
        """Have no more fake requests made."""
        self._client.set(_HUSHED, "1")

    @property
    def is_hushed(self) -> bool:
        """Whether no more fake requests are to be made."""
        return bool(self._client.exists(_HUSHED))

    def noted(self, test_id: str) -> dict[str, str]:
        """What is noted of a test so far."""
        noted: Any = self._client.hgetall(_NOTED + test_id)
        return dict(noted)

    def pulses(self) -> list[float]:
        """When fake requests were made, in seconds since the epoch, the earliest first."""
        times: Any = self._client.hvals(_PULSES)
        return sorted(float(at) for at in times)

    # -- afterwards

    def entries(self) -> dict[str, Entry]:
        """All that is known, by id of the test."""
        orders: Any = self._client.hgetall(_ORDERS)
        pulses: Any = self._client.hkeys(_PULSES)
        found = {test_id: Entry(test_id, Order(**json.loads(text))) for test_id, text in orders.items()}
        found.update({test_id: Entry(test_id, None) for test_id in pulses})
        for entry, noted in self._all_noted(found):
            entry.known = "known" in noted
            for name, value in noted.items():
                what, _, which = name.partition(":")
                if what == "sent":
                    entry.sent[which] = value
                elif what == "taken":
                    entry.taken[which] = float(value)
                elif what == "stray":
                    entry.strays.append(which)
        return found

    def _all_noted(self, entries: dict[str, Entry]) -> Iterator[tuple[Entry, dict[str, str]]]:
        pipeline = self._client.pipeline(transaction=False)
        for test_id in entries:
            pipeline.hgetall(_NOTED + test_id)
        yield from zip(entries.values(), pipeline.execute(), strict=True)

    def close(self) -> None:
        """Leave the server."""
        self._client.close()
