"""Reaching Redis, and saying in one line why it could not be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, NoPermissionError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from livecheck_celery.errors import ConfigurationError, RedisUnavailable
from livecheck_celery.store.redis.cluster import Cluster, Node
from livecheck_celery.store.redis.sentinel import sentinel_pool
from livecheck_celery.utils import redis_urls as urls

#: Connections one process opens at most, to one server; more threads than that take turns.
MAX_CONNECTIONS: Final = 50
#: A thread waits for its turn this many times as long as Redis may take for one answer.
TURNS: Final = 5


def connect(url: str, timeout: float) -> redis.Redis:
    """A client that gives up after ``timeout`` seconds and does not retry; it connects when first used.

    Raises:
        ConfigurationError: ``url`` is not a Redis URL.
    """
    scheme = urls.scheme_of(url)
    try:
        if scheme in urls.CLUSTER:
            return _cluster(url, timeout)
        if scheme == urls.SENTINEL:
            return _by_sentinel(url, timeout)
        return _client(_options(url), timeout)
    except ValueError:
        # redis-py's message would quote parts of the URL, at worst the password.
        raise ConfigurationError(f"LiveCheck: redis_url is not {_WANTED.get(scheme, _WANTED['redis'])}") from None


_ENCODED: Final = "(special characters in a password must be percent-encoded)"
_WANTED: Final = {
    "redis": f"a Redis URL such as redis://:password@localhost:6379/0 {_ENCODED}",
    **dict.fromkeys(urls.CLUSTER, f"a cluster's URL such as redis+cluster://:password@localhost:6379 {_ENCODED}"),
    urls.SENTINEL: (
        "a URL such as sentinel://:password@host:26379;sentinel://host2:26379/0?master_name=mymaster "
        f"{_ENCODED}; the broker's may have its master_name in broker_transport_options"
    ),
}


def _client(options: dict[str, Any], timeout: float) -> redis.Redis:
    pool = redis.BlockingConnectionPool(**options, **_bounds(timeout))  # type: ignore[no-untyped-call]
    pool.connection_class = _leaving_replicas(pool.connection_class)
    return redis.Redis.from_pool(pool)


def _bounds(timeout: float) -> dict[str, Any]:
    return {
        "max_connections": MAX_CONNECTIONS,
        "timeout": timeout * TURNS,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        "protocol": 2,
    }


def _by_sentinel(url: str, timeout: float) -> redis.Redis:
    servers = urls.servers(url)
    options = {**_without_place(servers.url), **_bounds(timeout)}
    pool = sentinel_pool(servers, options, _without_place(servers.sentinel_url))
    pool.connection_class = _leaving_replicas(pool.connection_class)
    return redis.Redis.from_pool(pool)


def _cluster(url: str, timeout: float) -> redis.Redis:
    servers = urls.servers(url)
    options = _without_place(servers.url)
    if options.pop("db", 0):
        raise ValueError("a cluster has no databases")

    def connect_to(node: Node, timeout: float) -> redis.Redis:
        host, port = node
        return _client({**options, "host": host, "port": port}, timeout)

    return Cluster(servers.hosts, connect_to, timeout)


def _options(url: str) -> dict[str, Any]:
    """What redis-py takes to connect."""
    return dict(redis.connection.parse_url(urls.for_redis_py(url)))  # type: ignore[no-untyped-call]


def _without_place(url: str) -> dict[str, Any]:
    return {name: value for name, value in _options(url).items() if name not in ("host", "port")}


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


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what redis-py raises within the block into one error of ours.

    Raises:
        RedisUnavailable: names the URL without its password, what happened, and the mend.
    """
    try:
        yield
    except redis.RedisError as exc:
        raise RedisUnavailable(f"Redis at {urls.without_password(url)} {_what_happened(exc)}") from exc


#: How a script says what, outside one, is an error of its own: of Valkey, Redis 7.4, and Redis before that.
_NOT_ALLOWED: Final = ("ACL failure", "NOPERM", "The user executing the script can't run")


def _what_happened(exc: redis.RedisError) -> str:
    reason = _reason(exc)
    if isinstance(exc, redis.AuthenticationError):
        return f"refused the login ({reason}); has livecheck_redis_url the right user and password?"
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError | ClusterDownError):
        return f"did not answer ({reason}); is it running, and is livecheck_redis_url right?"
    if isinstance(exc, NoPermissionError) or any(words in reason for words in _NOT_ALLOWED):
        return f"refused a command ({reason}); has the user of livecheck_redis_url the rights of docs/servers.md?"
    if isinstance(exc, AskError):
        return f"has other slots ({reason}); if it is a cluster, livecheck_redis_url must begin with redis+cluster://"
    return f"refused a command ({reason}); is it writable, and is livecheck_prefix used by LiveCheck alone?"


def _reason(exc: BaseException) -> str:
    """The system's own words if it has any, else the first line of the error."""
    cause = exc.__cause__ or exc.__context__
    if isinstance(exc, redis.TimeoutError):
        return "timed out"
    if isinstance(exc, MasterNotFoundError):
        return str(exc).partition(" : ")[0]  # after it, how each sentinel is connected to
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(exc).splitlines() or [type(exc).__name__])[0]
