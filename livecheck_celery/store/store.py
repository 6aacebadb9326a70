"""The state that all processes share in Redis, by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Final, Self

import redis

from livecheck_celery.config import Settings
from livecheck_celery.errors import RedisTooOld, RedisUnavailable
from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.store.counters import Counters
from livecheck_celery.store.database import PATIENCE, Database
from livecheck_celery.store.executions import BACKLOG, DUPLICATE, RATE, Executions
from livecheck_celery.store.liveness import Liveness
from livecheck_celery.store.redis.pool import Connections
from livecheck_celery.store.registry import Registry
from livecheck_celery.store.reports import Reports
from livecheck_celery.store.schedule_runs import ScheduleRuns
from livecheck_celery.store.scripts import Call
from livecheck_celery.store.signals import OVERFLOW, STALE, Signals
from livecheck_celery.store.suites import Suites
from livecheck_celery.store.unreadable import Unreadable
from livecheck_celery.utils.secrets import printed_url

#: Oldest Redis with every command that the scripts use.
OLDEST: Final = (6, 2)


class Store:
    """State that all processes share; safe to share between threads.

    Every operation is atomic and takes one round trip, unless it says otherwise. All times are Redis server time, in
    seconds since the epoch.

    Attributes:
        settings: of the LiveCheck.
        client: connection pool to Redis.
        keys: key names.
        executions: requested executions, their claims and verdicts.
        signals: signals of tests.
        suites: state of each case over time.
        schedule_runs: claims of fake requests by workers.
        registry: registered cases, and the shared configuration.
        counters: numbers of dropped items and ignored headers, by reason.
        liveness: signs of life of beat and workers.
        reports: reports of executions and suites.
        unreadable: values that LiveCheck did not write.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis | None = None,
        *,
        timeout: float = 2.0,
        wait: float = PATIENCE,
        connections: Connections | None = None,
        unreadable: Unreadable | None = None,
        cases: Sized = (),
    ) -> None:
        """Use ``client``, or connect to ``redis_url`` on first use; arguments and errors as for `Database`."""
        database = Database(
            settings, client, timeout=timeout, wait=wait, connections=connections, unreadable=unreadable, cases=cases
        )
        self._database = database
        self.unreadable = database.unreadable
        self.settings = database.settings
        self.client = database.client
        self.keys = database.keys
        self.executions = Executions(database)
        self.signals = Signals(database)
        self.suites = Suites(database)
        self.schedule_runs = ScheduleRuns(database, self.executions.open_cases)
        self.registry = Registry(database)
        self.counters = Counters(database)
        self.liveness = Liveness(database)
        self.reports = Reports(database)

    def check(self) -> None:
        """Check that Redis answers and is new enough.

        Raises:
            RedisTooOld: it is older than 6.2.
            RedisUnavailable: it did not answer.
        """
        version = str(self.server_info("server")["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            url = printed_url(self.settings.redis_url)
            raise RedisTooOld(f"Redis at {url} is {version}; LiveCheck needs 6.2 or newer")

    def server_info(self, section: str) -> Mapping[str, Any]:
        """Read a section of the server's INFO.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self.errors_translated():
            info: Mapping[str, Any] = self.client.info(section)
        return info

    def time(self) -> float:
        """Read the Redis server time, in seconds since the epoch.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self.errors_translated():
            seconds, microseconds = self.client.time()
        return float(seconds + microseconds / 1_000_000)

    def batch(self) -> Batch:
        """Return a `Batch`, which sends several writes in one round trip."""
        return Batch(self._database, self.executions, self.signals)

    def errors_translated(self) -> AbstractContextManager[None]:
        """Raise every Redis error in the block as RedisUnavailable."""
        return self._database.errors_translated()


class Batch:
    """Queue writes in a ``with`` block, and send them in one round trip at its end, unless the block raised.

    Leaving the block raises RedisUnavailable if Redis answered no write. A write that fails does not undo the others.

    Attributes:
        outcomes: after the block, for each write in order: the Redis time; `DUPLICATE`, `BACKLOG`, `RATE`,
            `STALE` or `OVERFLOW`; or the error.
    """

    def __init__(self, database: Database, executions: Executions, signals: Signals) -> None:
        self.outcomes: list[float | str | RedisUnavailable] = []
        self._database = database
        self._executions = executions
        self._signals = signals
        self._calls: list[Call] = []
        self._recorded: set[str] = set()  # cases
        self._cases: dict[int, str] = {}  # of the signals, by position

    def record(
        self, test: TestExecution, *, expires_in: float, delay: float = 0.0, max_rate: float | None = None
    ) -> None:
        """Queue `Executions.record`.

        Raises:
            InvalidPayload: the arguments are not JSON.
        """
        call = self._executions.record_call(test, expires_in=expires_in, delay=delay, max_rate=max_rate)
        self._calls.append(call)
        self._recorded.add(test.case_name)

    def signal(self, event: SignalEvent, *, ttl: float) -> None:
        """Queue `Signals.send`."""
        self._cases[len(self._calls)] = event.case_name
        self._calls.append(self._signals.send_call(event, ttl=ttl))

    def __len__(self) -> int:
        return len(self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._send()

    def _send(self) -> None:
        replies = self._database.repeat_if_cut(self._run_all)
        self.outcomes = [self._outcome(reply) for reply in replies]
        with suppress(RedisUnavailable):  # what is not dropped has a TTL
            for place, case_name in self._cases.items():
                if isinstance(replies[place], list) and len(replies[place]) > 1:
                    self._signals.drop(case_name, replies[place][1:])

    def _run_all(self) -> list[Any]:
        replies = self._executions.open_cases.run_all(self._calls, self._recorded)
        if all(isinstance(reply, redis.ConnectionError | redis.TimeoutError) for reply in replies):
            self._database.raise_first_error(replies)  # a cluster replies for each server
        return replies

    def _outcome(self, reply: Any) -> float | str | RedisUnavailable:
        try:
            self._database.raise_first_error([reply])
        except RedisUnavailable as exc:
            return exc
        if isinstance(reply, list):
            return float(reply[0])
        return reply if reply in (DUPLICATE, BACKLOG, RATE, STALE, OVERFLOW) else float(reply)
