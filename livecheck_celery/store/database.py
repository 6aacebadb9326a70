"""What the parts of the store share."""

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
from livecheck_celery.store.redis.client import connect, reaching
from livecheck_celery.store.scripts import Argument, Script, Scripts, execute

#: Seconds a record without a verdict outlives its expiry, for the sweep to give it one, even after a long outage.
KEEP: Final = 24 * 3600
#: Seconds a record outlives its verdict: longer than a worker is patient, which may ask again what became of it.
FORGET_AFTER: Final = 120

T = TypeVar("T")


class Part:
    """A client, the key names and the scripts.

    Attributes:
        client: the connection pool to Redis.
        settings: the LiveCheck's.
        keys: key names.
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None, *, timeout: float = 2.0) -> None:
        """``client`` must decode responses; without one, ``redis_url`` is connected to when first needed.

        ``timeout`` is how many seconds Redis may take to connect, and to answer.

        Raises:
            ConfigurationError: ``redis_url`` is not a Redis URL.
        """
        self.settings = settings
        self.client = connect(settings.redis_url, timeout) if client is None else client
        self.keys = Keys(settings.prefix)
        self._timeout = timeout
        self._scripts = Scripts(self.client)

    def reaching(self) -> AbstractContextManager[None]:
        """A block in which what goes wrong with Redis is raised as RedisUnavailable."""
        return reaching(self.settings.redis_url)

    def execute(self, pipeline: Pipeline) -> list[Any]:
        """The replies of ``pipeline``, errors of single commands among them.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self.reaching():
            return execute(self._scripts, self.client, pipeline)

    def complain(self, replies: Sequence[Any]) -> None:
        """Raise the first error among ``replies``, as RedisUnavailable."""
        with self.reaching():
            for reply in replies:
                if isinstance(reply, redis.RedisError):
                    raise reply

    def _run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        with self.reaching():
            return script(keys, args)

    def _run_each(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]) -> list[Any]:
        """The reply to each call, of keys and arguments, in one round trip; the first error is raised."""
        if not calls:
            return []
        pipeline = self.client.pipeline(transaction=False)
        for keys, args in calls:
            script(keys, args, pipeline)
        replies = self.execute(pipeline)
        self.complain(replies)
        return replies

    def _read(self, *keys: str) -> tuple[float, list[Any]]:
        """The time, and what the keys, all of one slot, hold at that moment; see ``read.lua``."""
        now, *found = self._run(self._scripts.read, keys, [])
        return float(now), found

    def _kept(self, report: TestReport) -> str | None:
        """The report as scripts take it: JSON without ``at``, which they add; None when reports are not kept."""
        return REPORT.dump_json(report, exclude={"at"}).decode() if self.settings.send_reports else None


def execution_json(test: TestExecution) -> str:
    """An execution as JSON.

    Raises:
        InvalidPayload: its arguments are not JSON.
    """
    try:
        # Infinity as in Celery's messages, so that a test that is sent again has the arguments it had.
        return to_json(test, inf_nan_mode="constants").decode()
    except PydanticSerializationError as exc:
        raise InvalidPayload(f"{test.ident}: the arguments are not JSON: {exc}") from None


def as_dict(found: Sequence[str]) -> dict[str, str]:
    """A hash as scripts reply it: field, value, and so on."""
    return dict(zip(found[::2], found[1::2], strict=True))


def readable(key: str, read: Callable[[], T]) -> T:
    """What ``read`` makes of the value stored under ``key``.

    Raises:
        InvalidPayload: names the key of what cannot be read.
    """
    try:
        return read()
    except (ValidationError, ValueError, TypeError) as exc:
        raise InvalidPayload(f"Redis key {key} holds something LiveCheck did not write: {type(exc).__name__}") from exc
