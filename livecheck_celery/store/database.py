"""A Redis database that the parts of the store share: its client, its key names, and its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import redis
from redis.client import Pipeline

from livecheck_celery.config import Settings
from livecheck_celery.errors import RedisUnavailable, UnreadableData
from livecheck_celery.models import TestReport
from livecheck_celery.store.encoding import report_json
from livecheck_celery.store.keys import Keys
from livecheck_celery.store.redis.client import connect, errors_translated, is_unreadable
from livecheck_celery.store.redis.pool import BoundedPool, Connections
from livecheck_celery.store.redis.shared_trips import SharedTrips
from livecheck_celery.store.scripts import Call, Script, run, run_all
from livecheck_celery.store.unreadable import Unreadable
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

#: Seconds that a worker waits for a free connection.
PATIENCE: Final = 10.0
#: Seconds for which a record without a verdict is kept after it expires, so that a sweep after an outage can close it.
KEEP: Final = 24 * 3600
#: Seconds for which a record is kept after its verdict: longer than a worker retries to write the verdict.
FORGET_AFTER: Final = 120

#: Seconds for which a report is kept.
REPORT_TTL: Final = 30 * 24 * 3600
#: Arguments of the scripts that add a report: `Database.report_limits`.
REPORT_LIMITS: Final = ("max_reports", "max_report_bytes", "report_ttl")

#: Groups of keys that are read in one round trip.
_READ_TOGETHER: Final = 500
READ: Final = Script("read", keys=("*stored",))

T = TypeVar("T")


class Database:
    """A Redis database; safe to share between threads.

    Attributes:
        settings: of the LiveCheck.
        client: connection pool to Redis.
        keys: key names.
        timeout: seconds Redis can take to connect, and to answer.
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
        """Use ``client``, which must decode responses; without one, connect to ``redis_url`` on first use.

        Args:
            settings: of the LiveCheck.
            client: connection pool to Redis.
            timeout: seconds Redis can take to connect, and to answer.
            wait: seconds to wait for a free connection, while all of this process are in use.
            connections: those of this process, which its stores share.
            unreadable: notes of this process, which its stores share.
            cases: those that this process declares, which can still grow; they share the memory for reports.

        Raises:
            ConfigurationError: ``redis_url`` is not a Redis URL.
        """
        self.settings = settings
        if client is None:
            connections = connections or Connections(settings.redis_max_connections)
            client = connect(settings.redis_url, timeout, connections, wait=wait)
        self.client = client
        self.keys = Keys(settings.prefix)
        self.timeout = timeout
        self.unreadable = unreadable or Unreadable()
        self._throttle = Throttle()
        self._cases = cases
        pool = getattr(client, "connection_pool", None)
        self._shared_trips = SharedTrips(pool) if isinstance(pool, BoundedPool) else None

    def errors_translated(self) -> AbstractContextManager[None]:
        """Raise every Redis error in the block as RedisUnavailable."""
        return errors_translated(self.settings.redis_url)

    @staticmethod
    def repeat_if_cut(operation: Callable[[], T]) -> T:
        """Call ``operation``, whose repetition changes nothing; call it again if its connection was closed meanwhile.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        try:
            return operation()
        except RedisUnavailable as exc:
            if not exc.was_cut:
                raise
        return operation()

    def run(self, call: Call) -> Any:
        """Run one script and return its reply.

        Raises:
            RedisUnavailable: Redis did not answer, or the script failed.
        """
        execute = self._shared_trips.execute if self._shared_trips else self.client.execute_command
        with self.errors_translated():
            return run(execute, call)

    def run_all(self, calls: Sequence[Call], *, raise_on_error: bool = True) -> list[Any]:
        """Run scripts in one round trip and return their replies; with ``raise_on_error=False``, errors are replies.

        Raises:
            RedisUnavailable: Redis did not answer, or a script failed.
        """
        with self.errors_translated():
            replies = run_all(self._execute_all, calls)
        if raise_on_error:
            self.raise_first_error(replies)
        return replies

    def _execute_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._shared_trips is not None:
            return self._shared_trips.execute_all(commands)
        pipeline: Any = self.pipeline()  # redis-py leaves execute_command() untyped
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def run_each(self, calls: Mapping[str, Call]) -> dict[str, Any]:
        """Run a script for each case, by name, in one round trip, and return the replies.

        A script that fails is left out and logged, once a minute for a case: its key was not written by LiveCheck, or
        its part of a cluster is down.

        Raises:
            RedisUnavailable: Redis did not answer, or refused all scripts, not because of what their keys hold.
        """
        replies = dict(zip(calls, self.run_all(list(calls.values()), raise_on_error=False), strict=True))
        failed = {name: reply for name, reply in replies.items() if isinstance(reply, redis.RedisError)}
        refused = {name: error for name, error in failed.items() if not is_unreadable(error)}
        for name in failed.keys() - refused.keys():
            self.unreadable.skip(calls[name].keys[0], failed[name])
        if refused and len(failed) == len(calls):
            self.raise_first_error(list(refused.values()))
        for name, error in refused.items():
            if self._throttle(name):
                logger.error("store: case %s: %s", name, error)
        return {name: reply for name, reply in replies.items() if name not in failed}

    def raise_first_error(self, replies: Sequence[Any]) -> None:
        """Raise the first error among ``replies``, if there is one.

        Raises:
            RedisUnavailable: a reply is an error.
        """
        with self.errors_translated():
            for reply in replies:
                if isinstance(reply, redis.RedisError):
                    raise reply

    def pipeline(self) -> Pipeline:
        """Return an empty pipeline, for `execute`; it is not a transaction."""
        return self.client.pipeline(transaction=False)

    def execute(self, pipeline: Pipeline) -> list[Any]:
        """Send a pipeline of plain commands and return the replies.

        Raises:
            RedisUnavailable: Redis did not answer, or a command failed.
        """
        with self.errors_translated():
            return pipeline.execute()

    def execute_each(self, pipeline: Pipeline, keys: Sequence[str]) -> list[Any]:
        """Send a pipeline of one command for each of ``keys``; the reply is None for a key of another type.

        Raises:
            RedisUnavailable: Redis did not answer, or refused a command, not because of what its key holds.
        """
        with self.errors_translated():
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return self.without_unreadable(keys, replies)

    def without_unreadable(self, keys: Sequence[str], replies: Sequence[Any]) -> list[Any]:
        """Return the replies about ``keys``, with None for an error because of what the key holds.

        Raises:
            RedisUnavailable: a reply is another error.
        """
        found = list(replies)
        for at, (key, reply) in enumerate(zip(keys, replies, strict=True)):
            if isinstance(reply, redis.RedisError) and is_unreadable(reply):
                self.unreadable.skip(key, reply)
                found[at] = None
        self.raise_first_error(found)
        return found

    def read(self, keys: Mapping[str, str]) -> tuple[float, list[Any]]:
        """Read keys of one cluster slot atomically, as `read_all` reads a group.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        [found] = self.read_all([keys])
        return found

    def read_all(self, groups: Sequence[Mapping[str, str]]) -> list[tuple[float, list[Any]]]:
        """Read groups of keys, in a round trip for some hundreds; each group, of one cluster slot, is read atomically.

        Returns:
            For each group the Redis time, and the values as ``read.lua`` replies them; None for a key of another type.

        Args:
            groups: the type of each key, ``hash`` or ``list``, by name.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        replies: list[Any] = []
        for start in range(0, len(groups), _READ_TOGETHER):
            replies += self.run_all([READ(stored=list(each)) for each in groups[start : start + _READ_TOGETHER]])
        return [self._values(each, reply) for each, reply in zip(groups, replies, strict=True)]

    def _values(self, keys: Mapping[str, str], reply: Sequence[Any]) -> tuple[float, list[Any]]:
        now, *replies = reply
        found = []
        for (key, expected), kind, value in zip(keys.items(), replies[::2], replies[1::2], strict=True):
            if kind not in (expected, "none"):
                self.unreadable.skip(key, f"it is a {kind}, not a {expected}")
            found.append(value if kind in (expected, "none") else None)
        return float(now), found

    @property
    def report_limits(self) -> dict[str, int]:
        """Limits of the stream of reports of one case, by argument; no reports at all if reports are not kept."""
        settings = self.settings
        share = settings.max_all_report_bytes // max(1, len(self._cases))
        most = max(1, min(settings.max_report_bytes, share))
        limits = settings.max_reports if settings.send_reports else 0, most, REPORT_TTL
        return dict(zip(REPORT_LIMITS, limits, strict=True))

    def report_json(self, report: TestReport) -> str | None:
        """Encode a report as JSON without ``at``, which the scripts add; return None if reports are not kept."""
        return report_json(report) if self.settings.send_reports else None


def as_dict(found: Sequence[str]) -> dict[str, str]:
    """Convert a script's reply for a hash (field, value, field, value, ...) to a dict."""
    return dict(zip(found[::2], found[1::2], strict=True))


def readable(key: str, read: Callable[[], T]) -> T:
    """Return the result of ``read``, which parses the value stored under ``key``.

    Raises:
        UnreadableData: the value cannot be parsed; the message names the key.
    """
    try:
        return read()
    except (ValueError, TypeError, OverflowError, OSError) as exc:  # the last two of dates
        raise UnreadableData(f"Redis key {key} holds something LiveCheck did not write: {type(exc).__name__}") from exc
