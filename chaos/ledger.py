"""The independent ledger: which tests were triggered and which signals were sent, in a Redis that no fault affects.

Each step is recorded before it is taken, and its success afterwards, so the ledger never knows less than LiveCheck.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import redis

from chaos.plan import EXPECTED, SCHEDULED, Order

_ORDERS: Final = "orders"
_FAKE_REQUESTS: Final = "fake-requests"
_STOPPED: Final = "fake-requests-stopped"
_TEST: Final = "test:"


@dataclass
class Entry:
    """The entry of one test.

    Attributes:
        id: id of the test.
        order: order that triggered the test; None for a fake request.
        triggered: whether the trigger succeeded; if False, it may have succeeded.
        sent: value of each signal, by name, recorded before the signal was sent.
        stored: time at which Redis was known to have the signal, by name, in seconds since the epoch.
        anomalies: observations that must not occur, such as the identity of another test.
    """

    id: str
    order: Order | None
    triggered: bool = False
    sent: dict[str, str] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    anomalies: list[str] = field(default_factory=list)

    @property
    def expected(self) -> str:
        """The expected verdict."""
        return "PASS" if self.order is None else EXPECTED[self.order.kind]

    @property
    def case(self) -> str:
        """Name of the case that tests the order."""
        return SCHEDULED if self.order is None else self.order.case


class Ledger:
    """Record and read entries, from any process of a run."""

    def __init__(self, url: str) -> None:
        self._client: redis.Redis = redis.Redis.from_url(url, decode_responses=True)

    # -- during the run

    def placing_order(self, order: Order) -> None:
        """Record that ``order`` is about to be placed."""
        self._client.hset(_ORDERS, order.id, json.dumps(asdict(order)))

    def making_fake_request(self, test_id: str) -> None:
        """Record that a fake request is about to trigger a test."""
        self._client.hset(_FAKE_REQUESTS, test_id, time.time())

    def triggered(self, test_id: str) -> None:
        """Record that a test was triggered."""
        self._client.hset(_TEST + test_id, "triggered", time.time())

    def sending(self, test_id: str, signal: str, value: str) -> None:
        """Record that a signal is about to be sent."""
        self._client.hset(_TEST + test_id, f"sent:{signal}", value)

    def stored(self, test_id: str, signal: str) -> None:
        """Record that Redis has a signal."""
        self._client.hsetnx(_TEST + test_id, f"stored:{signal}", str(time.time()))

    def anomaly(self, test_id: str, what: str) -> None:
        """Record an observation that must not occur."""
        self._client.hset(_TEST + test_id, f"anomaly:{what}", "")

    def stop_fake_requests(self) -> None:
        """Have all processes make no more fake requests."""
        self._client.set(_STOPPED, "1")

    @property
    def fake_requests_stopped(self) -> bool:
        """Whether `stop_fake_requests` was called."""
        return bool(self._client.exists(_STOPPED))

    def is_triggered(self, test_id: str) -> bool:
        """Return whether a test is known to have been triggered."""
        return bool(self._client.hexists(_TEST + test_id, "triggered"))

    def is_stored(self, test_id: str, signal: str) -> bool:
        """Return whether Redis is known to have a signal."""
        return bool(self._client.hexists(_TEST + test_id, f"stored:{signal}"))

    def fake_requests(self) -> list[float]:
        """Return when fake requests were made, in seconds since the epoch, the earliest first."""
        times: Any = self._client.hvals(_FAKE_REQUESTS)
        return sorted(float(at) for at in times)

    # -- after the run

    def entries(self) -> dict[str, Entry]:
        """Return all entries, by id of the test."""
        orders: Any = self._client.hgetall(_ORDERS)
        fakes: Any = self._client.hkeys(_FAKE_REQUESTS)
        found = {test_id: Entry(test_id, Order(**json.loads(text))) for test_id, text in orders.items()}
        found.update({test_id: Entry(test_id, None) for test_id in fakes})
        for entry, fields in self._fields(found):
            entry.triggered = "triggered" in fields
            for name, value in fields.items():
                kind, _, rest = name.partition(":")
                if kind == "sent":
                    entry.sent[rest] = value
                elif kind == "stored":
                    entry.stored[rest] = float(value)
                elif kind == "anomaly":
                    entry.anomalies.append(rest)
        return found

    def _fields(self, entries: dict[str, Entry]) -> Iterator[tuple[Entry, dict[str, str]]]:
        pipeline = self._client.pipeline(transaction=False)
        for test_id in entries:
            pipeline.hgetall(_TEST + test_id)
        yield from zip(entries.values(), pipeline.execute(), strict=True)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
