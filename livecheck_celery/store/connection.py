"""Reaching Redis, and saying in one line why it could not be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from livecheck_celery.errors import ConfigurationError, RedisUnavailable

#: Connections one process opens at most; more threads than that take turns.
MAX_CONNECTIONS: Final = 50
#: A thread waits for its turn this many times as long as Redis may take for one answer.
TURNS: Final = 5


def connect(url: str, timeout: float) -> redis.Redis:
    """A client that gives up after ``timeout`` seconds and does not retry; it connects when first used.

    Raises:
        ConfigurationError: ``url`` is not a Redis URL.
    """
    try:
        pool = redis.BlockingConnectionPool.from_url(
            for_redis_py(url),
            max_connections=MAX_CONNECTIONS,
            timeout=timeout * TURNS,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            protocol=2,
        )
    except ValueError:
        # redis-py's message would quote parts of the URL, at worst the password.
        raise ConfigurationError(
            "LiveCheck: redis_url is not a Redis URL such as redis://:password@localhost:6379/0 "
            "(special characters in a password must be percent-encoded)"
        ) from None
    pool.connection_class = _leaving_replicas(pool.connection_class)
    return redis.Redis.from_pool(pool)


@cache
def _leaving_replicas(kind: type[redis.Connection]) -> type[redis.Connection]:
    """Connections of ``kind`` that are made anew after the server said it is a read-only replica.

    After a failover, the address leads to the new primary, while a connection that is open still leads to the old one.
    """

    class Leaving(kind):  # type: ignore[valid-type, misc]
        _left = False

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().read_response(*args, **kwargs)
            except redis.ResponseError as exc:
                # Redis before 7 quotes it in an error of the script.
                if isinstance(exc, redis.ReadOnlyError) or "READONLY" in str(exc):
                    self._left = True
                raise

        def can_read(self, *args: Any, **kwargs: Any) -> bool:
            """The pool asks this before it hands a connection out, and connects again when that raises."""
            if self._left:
                self._left = False
                raise redis.ConnectionError("is of a replica")
            return bool(super().can_read(*args, **kwargs))

    return Leaving


def for_redis_py(url: str) -> str:
    """``url`` in redis-py's words where kombu, whose URL it may be, has its own."""
    if url.startswith("redis+socket:"):
        url = "unix:" + url.removeprefix("redis+socket:").replace("virtual_host=", "db=")
    for flag in ("required", "optional", "none"):
        url = url.replace(f"ssl_cert_reqs=CERT_{flag.upper()}", f"ssl_cert_reqs={flag}")
    return url


def without_password(url: str) -> str:
    """``url`` without what must not be shown: the user, the password and the query."""
    scheme, separator, rest = url.partition("://")
    place, _, query = rest.partition("?")
    # A password with a question mark in it: there is no telling where it ends.
    return scheme + separator + ("..." if "@" in query else place.rpartition("@")[2])


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what redis-py raises within the block into one error of ours.

    Raises:
        RedisUnavailable: names the URL without its password, what happened, and the mend.
    """
    try:
        yield
    except redis.RedisError as exc:
        raise RedisUnavailable(f"Redis at {without_password(url)} {_what_happened(exc)}") from exc


def _what_happened(exc: redis.RedisError) -> str:
    reason = _reason(exc)
    if isinstance(exc, redis.AuthenticationError):
        return f"refused the login ({reason}); has livecheck_redis_url the right user and password?"
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError):
        return f"did not answer ({reason}); is it running, and is livecheck_redis_url right?"
    return f"refused a command ({reason}); is it writable, and is livecheck_prefix used by LiveCheck alone?"


def _reason(exc: BaseException) -> str:
    """The system's own words if it has any, else the first line of the error."""
    cause = exc.__cause__ or exc.__context__
    if isinstance(exc, redis.TimeoutError):
        return "timed out"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(exc).splitlines() or [type(exc).__name__])[0]
