"""What the parts of the store share: one Redis database, its key names, and how operations run in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import redis
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json
from redis.client import Pipeline

from livecheck_celery.config import Settings
from livecheck_celery.errors import InvalidPayload
from livecheck_celery.models import REPORT, TestExecution, TestReport
from livecheck_celery.store.keys import Keys
from livecheck_celery.store.redis.client import connect, errors_translated
from livecheck_celery.store.scripts import Call, Script, run, run_all

#: Seconds a record without a verdict outlives its expiry, for the sweep to close it, even after a long outage.
KEEP: Final = 24 * 3600
#: Seconds a record outlives its verdict: longer than a worker retries to write the verdict.
FORGET_AFTER: Final = 120

READ: Final = Script("read", keys=("*stored",))

T = TypeVar("T")


class Database:
    """A Redis database; safe to share between threads.

    Attributes:
        settings: of the LiveCheck.
        client: connection pool to Redis.
        keys: key names.
        timeout: seconds Redis can take to connect, and to answer.
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None, *, timeout: float = 2.0) -> None:
        """Use ``client``, which must decode responses; without one, connect to ``redis_url`` on first use.

        Raises:
            ConfigurationError: ``redis_url`` is not a Redis URL.
        """
        self.settings = settings
        self.client = connect(settings.redis_url, timeout) if client is None else client
        self.keys = Keys(settings.prefix)
        self.timeout = timeout

    def errors_translated(self) -> AbstractContextManager[None]:
        """Raise every Redis error in the block as RedisUnavailable."""
        return errors_translated(self.settings.redis_url)

    def run(self, call: Call) -> Any:
        """Run one script; the reply.

        Raises:
            RedisUnavailable: Redis did not answer, or the script failed.
        """
        with self.errors_translated():
            return run(self.client, call)

    def run_all(self, calls: Sequence[Call], *, raise_on_error: bool = True) -> list[Any]:
        """Run scripts in one round trip; the reply to each, with ``raise_on_error=False`` errors among them.

        Raises:
            RedisUnavailable: Redis did not answer, or a script failed.
        """
        with self.errors_translated():
            replies = run_all(self.client, calls)
        if raise_on_error:
            self.raise_first_error(replies)
        return replies

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
        """An empty pipeline, not a transaction; see `execute`."""
        return self.client.pipeline(transaction=False)

    def execute(self, pipeline: Pipeline) -> list[Any]:
        """Send a pipeline of plain commands; the replies.

        Raises:
            RedisUnavailable: Redis did not answer, or a command failed.
        """
        with self.errors_translated():
            return pipeline.execute()

    def read(self, *keys: str) -> tuple[float, list[Any]]:
        """Read keys of one cluster slot in one step; Redis time, and what each holds, as ``read.lua`` replies it.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        now, *found = self.run(READ(stored=keys))
        return float(now), found

    def report_json(self, report: TestReport) -> str | None:
        """A report as scripts take it: JSON without ``at``, which they add; None if reports are not kept."""
        return REPORT.dump_json(report, exclude={"at"}).decode() if self.settings.send_reports else None


def execution_json(test: TestExecution) -> str:
    """An execution as JSON.

    Raises:
        InvalidPayload: its arguments are not JSON.
    """
    try:
        # Infinity as in Celery's messages, so that a resent test has the same arguments.
        return to_json(test, inf_nan_mode="constants").decode()
    except PydanticSerializationError as exc:
        raise InvalidPayload(f"{test.ident}: the arguments are not JSON: {exc}") from None


def as_dict(found: Sequence[str]) -> dict[str, str]:
    """A hash as scripts reply it: field, value, field, value, and so on."""
    return dict(zip(found[::2], found[1::2], strict=True))


def readable(key: str, read: Callable[[], T]) -> T:
    """The result of ``read``, which parses the value stored under ``key``.

    Raises:
        InvalidPayload: names the key whose value cannot be parsed.
    """
    try:
        return read()
    except (ValidationError, ValueError, TypeError) as exc:
        raise InvalidPayload(f"Redis key {key} holds something LiveCheck did not write: {type(exc).__name__}") from exc
