"""Everything LiveCheck keeps in Redis."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import redis

from livecheck_celery.errors import RedisTooOld
from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.store.executions import BACKLOG, DUPLICATE, Ledger
from livecheck_celery.store.registry import Wiring
from livecheck_celery.store.reports import Reports
from livecheck_celery.store.schedule_runs import Periods
from livecheck_celery.store.signals import Arrivals
from livecheck_celery.store.suites import Suite
from livecheck_celery.utils.redis_urls import without_password

#: The first Redis with everything the scripts use.
OLDEST: Final = (6, 2)


class Store(Ledger, Arrivals, Suite, Periods, Reports, Wiring):
    """What all processes share: executions, signals, suites, reports and wiring; safe to share between threads.

    What an execution needs is one round trip each, and atomic. All times are by Redis' clock, in seconds since the
    epoch.
    """

    def check(self) -> None:
        """See whether Redis is there and new enough.

        Raises:
            RedisTooOld: it is older than 6.2.
            RedisUnavailable: it did not answer.
        """
        with self.reaching():
            version = str(self.client.info("server")["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            url = without_password(self.settings.redis_url)
            raise RedisTooOld(f"Redis at {url} is {version}; LiveCheck needs 6.2 or newer")

    def time(self) -> float:
        """Redis' clock.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return self._read(self.keys.wiring)[0]

    def batch(self) -> Batch:
        """Writes that go out together; see `Batch`."""
        return Batch(self)


class Batch:
    """Queues writes within its ``with`` block and sends them in one pipeline at its end, unless the block raised.

    Leaving the block raises RedisUnavailable when Redis did not take them all.

    Attributes:
        outcomes: after the block, for each write in order, when Redis did it; or why it did not.
    """

    def __init__(self, store: Store) -> None:
        self.outcomes: list[float | str] = []
        self._store = store
        self._pipeline = store.client.pipeline(transaction=False)

    def record(self, test: TestExecution, *, expires_in: float, delay: float = 0.0) -> None:
        """Queue what `Store.record` does.

        Raises:
            InvalidPayload: the arguments are not JSON.
        """
        self._store.queue_record(self._pipeline, test, expires_in=expires_in, delay=delay)

    def signal(self, event: SignalEvent, *, ttl: float) -> None:
        """Queue what `Store.signal` does."""
        self._store.queue_signal(self._pipeline, event, ttl=ttl)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._send()

    def _send(self) -> None:
        replies = self._store.execute(self._pipeline)
        # One write that fails, say on a key that somebody else uses, does not undo its neighbours.
        self.outcomes = [_outcome(reply) for reply in replies]
        self._store.complain(replies)


def _outcome(reply: Any) -> float | str:
    if isinstance(reply, redis.RedisError):
        return str(reply)
    return reply if reply in (DUPLICATE, BACKLOG) else float(reply)
