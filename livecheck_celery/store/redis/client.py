"""Redis clients with bounded waits, and Redis errors translated into one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, NoPermissionError, TryAgainError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from livecheck_celery.errors import ConfigurationError, RedisRefused, RedisUnavailable
from livecheck_celery.store.redis.cluster import Cluster, Node
from livecheck_celery.store.redis.pool import BoundedPool, Connections, ServerConnections, is_not_sent
from livecheck_celery.store.redis.sentinel import sentinel_pool
from livecheck_celery.utils import redis_urls as urls


def connect(url: str, timeout: float, connections: Connections, *, wait: float) -> redis.Redis:
    """Return a client that connects on first use, and does not retry.

    Args:
        url: Redis, Sentinel or cluster URL.
        timeout: seconds Redis can take to connect, and to answer.
        connections: those of this process.
        wait: seconds to wait for a free connection, while all are in use.

    Raises:
        ConfigurationError: ``url`` is not a Redis URL.
    """
    scheme = urls.scheme_of(url)
    try:
        if scheme in urls.CLUSTER:
            return _cluster(url, timeout, connections, wait)
        if scheme == urls.SENTINEL:
            return _by_sentinel(url, {**_bounds(timeout), "connections": connections.to(url), "wait": wait})
        return _client(_options(url), timeout, connections.to(url), wait)
    except ValueError:
        # redis-py's message quotes parts of the URL, which can be the password.
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


def _client(options: dict[str, Any], timeout: float, connections: ServerConnections, wait: float) -> redis.Redis:
    pool = BoundedPool(**options, **_bounds(timeout), connections=connections, wait=wait)
    pool.connection_class = _leaving_replicas(pool.connection_class)
    return redis.Redis.from_pool(pool)


def no_retry() -> Retry:
    """Return a redis-py ``Retry`` that never retries."""
    return Retry(NoBackoff(), 0)


def _bounds(timeout: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": no_retry(),
        "decode_responses": True,
        "protocol": 2,
    }


def _by_sentinel(url: str, bounds: dict[str, Any]) -> redis.Redis:
    servers = urls.servers(url)
    pool = sentinel_pool(servers, {**_without_place(servers.url), **bounds}, _without_place(servers.sentinel_url))
    pool.connection_class = _leaving_replicas(pool.connection_class)
    return redis.Redis.from_pool(pool)


def _cluster(url: str, timeout: float, connections: Connections, wait: float) -> redis.Redis:
    servers = urls.servers(url)
    options = _without_place(servers.url)
    if options.pop("db", 0):
        raise ValueError("a cluster has no databases")

    def connect_to(node: Node, timeout: float) -> redis.Redis:
        host, port = node
        return _client({**options, "host": host, "port": port}, timeout, connections.to(node), wait)

    return Cluster(servers.hosts, connect_to, timeout)


def _options(url: str) -> dict[str, Any]:
    """Parse a URL to connection options of redis-py."""
    return dict(redis.connection.parse_url(urls.for_redis_py(url)))  # type: ignore[no-untyped-call] # redis-py's


def _without_place(url: str) -> dict[str, Any]:
    return {name: value for name, value in _options(url).items() if name not in ("host", "port")}


@cache
def _leaving_replicas(kind: type[redis.Connection]) -> type[redis.Connection]:
    """Return a subclass of ``kind`` that reconnects after the server replied that it is a read-only replica.

    After a failover, new connections to the address reach the new primary, but open ones still reach the old one.
    """

    class LeavingReplicas(kind):  # type: ignore[valid-type, misc] # a base made at run time
        _is_on_replica = False

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().read_response(*args, **kwargs)
            except redis.ResponseError as exc:
                # Redis before 7 quotes it in the script's error.
                if isinstance(exc, redis.ReadOnlyError) or "READONLY" in str(exc):
                    self._is_on_replica = True
                raise _typed(exc) from None

        def can_read(self, *args: Any, **kwargs: Any) -> bool:
            """Raise if the server is a replica: the pool calls this before each use, and then reconnects."""
            if self._is_on_replica:
                self._is_on_replica = False
                raise redis.ConnectionError("connected to a replica")
            return bool(super().can_read(*args, **kwargs))

    return LeavingReplicas


#: Errors of a cluster, which redis-py before 6 knows only in its own cluster client.
_CLUSTER_ERRORS: Final = {
    "ASK": AskError,
    "CLUSTERDOWN": ClusterDownError,
    "MOVED": MovedError,
    "TRYAGAIN": TryAgainError,
}


def _typed(error: redis.ResponseError) -> redis.ResponseError:
    code, _, text = str(error).partition(" ")
    known = _CLUSTER_ERRORS.get(code) if type(error) is redis.ResponseError else None
    return known(text) if known else error


@contextmanager
def errors_translated(url: str) -> Iterator[None]:
    """Raise every redis-py error in the block as RedisUnavailable.

    Raises:
        RedisUnavailable: the message has the URL without its password, the reason, and how to fix it.
    """
    try:
        yield
    except redis.RedisError as exc:
        kind, problem = _problem(exc)
        error = kind(f"Redis at {urls.without_password(url)} {problem}")
        is_broken = isinstance(exc, redis.ConnectionError) and not isinstance(exc, _REPLIES)
        error.unconfirmed = (is_broken or isinstance(exc, redis.TimeoutError)) and not is_not_sent(exc)
        error.was_cut = error.unconfirmed and is_broken
        raise error from exc


#: Texts of a missing permission in a script's error: of Valkey, of Redis 7.4, and of older versions of Redis.
_NOT_ALLOWED: Final = ("ACL failure", "NOPERM", "The user executing the script can't run")
#: Subclasses of redis-py's ConnectionError that are replies.
_REPLIES: Final = (redis.AuthenticationError, redis.BusyLoadingError)
#: Texts of refusals that only a change of the configuration or of the stored data ends.
_PERMANENT: Final = ("WRONGTYPE", "unknown command", "DB index is out of range", "invalid DB index")


def _problem(exc: redis.RedisError) -> tuple[type[RedisUnavailable], str]:
    """Return the kind of error, and what to do about it."""
    reason = _reason(exc)
    if isinstance(exc, redis.AuthenticationError):
        return RedisRefused, f"refused the login ({reason}); has livecheck_redis_url the right user and password?"
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError | ClusterDownError):
        return RedisUnavailable, f"did not answer ({reason}); is it running, and is livecheck_redis_url right?"
    if isinstance(exc, NoPermissionError) or any(words in reason for words in _NOT_ALLOWED):
        fix = "has the user of livecheck_redis_url the rights of docs/servers.md?"
        return RedisRefused, f"refused a command ({reason}); {fix}"
    if isinstance(exc, AskError):
        fix = "if it is a cluster, livecheck_redis_url must begin with redis+cluster://"
        return RedisRefused, f"has other slots ({reason}); {fix}"
    kind = RedisRefused if any(words in reason for words in _PERMANENT) else RedisUnavailable
    return kind, f"refused a command ({reason}); is it writable, and is livecheck_prefix used by LiveCheck alone?"


def _reason(exc: BaseException) -> str:
    """Return the operating system's message if there is one, else the first line of the error."""
    cause = exc.__cause__ or exc.__context__
    if isinstance(exc, redis.TimeoutError):
        return "timed out"
    if isinstance(exc, MasterNotFoundError):
        return str(exc).partition(" : ")[0]  # followed by the connection options of each sentinel
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(exc).splitlines() or [type(exc).__name__])[0]
