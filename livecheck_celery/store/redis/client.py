"""Redis clients with bounded waits, and Redis errors translated into one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, NoPermissionError, TryAgainError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from livecheck_celery.errors import ConfigurationError, RedisRefused, RedisUnavailable, UnreadableKey
from livecheck_celery.store.redis.cluster import Cluster, Node
from livecheck_celery.store.redis.credentials import load_provider
from livecheck_celery.store.redis.pool import BoundedPool, Connections, is_not_sent
from livecheck_celery.store.redis.sentinel import sentinel_pool
from livecheck_celery.utils import redis_urls as urls
from livecheck_celery.utils.secrets import printed_url


def connect(url: str, timeout: float, connections: Connections, *, wait: float) -> redis.Redis:
    """Return a client that connects on first use, and does not retry.

    Args:
        url: Redis, Sentinel or cluster URL.
        timeout: seconds Redis can take to connect, and to answer.
        connections: those of this process.
        wait: seconds to wait for a free connection, while all are in use.

    Raises:
        ConfigurationError: ``url`` is not a Redis URL, or has an option that is unknown or cannot be applied.
    """
    try:
        parsed = urls.parse(url)
        if parsed.scheme in urls.CLUSTER:
            return _cluster(parsed, timeout, connections, wait)
        bounds = {**_bounds(timeout), "connections": connections.to(url), "wait": wait}
        if parsed.scheme == urls.SENTINEL:
            to_sentinel = _with_provider(parsed.sentinel_options)
            return _of_pool(sentinel_pool(parsed, {**_with_provider(parsed.options), **bounds}, to_sentinel))
        return _client({**_arguments(parsed), **_place(parsed)}, bounds)
    except ValueError as exc:
        raise ConfigurationError(f"LiveCheck: {exc}") from None
    except (TypeError, redis.RedisError) as exc:  # an option that the installed redis-py lacks, or refuses
        raise ConfigurationError(f"LiveCheck: redis_url: {exc}") from None


def _client(options: dict[str, Any], bounds: dict[str, Any]) -> redis.Redis:
    return _of_pool(BoundedPool(**options, **bounds))


def _of_pool(pool: Any) -> redis.Redis:
    pool.connection_class = _leaving_replicas(pool.connection_class)
    # Not opened: redis-py checks the options when it creates a connection, which would be in a request.
    pool.connection_class(**pool.connection_kwargs)
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
        "encoding_errors": "surrogateescape",  # a value that is not UTF-8 must fail no reply
        "protocol": 2,
    }


def _cluster(url: urls.RedisUrl, timeout: float, connections: Connections, wait: float) -> redis.Redis:
    options = _arguments(url)

    def connect_to(node: Node, timeout: float) -> redis.Redis:
        host, port = node
        bounds = {**_bounds(timeout), "connections": connections.to(node), "wait": wait}
        return _client({**options, "host": host, "port": port}, bounds)

    connect_to(url.hosts[0], timeout)  # checks the options
    return Cluster(url.hosts, connect_to, timeout)


def _arguments(url: urls.RedisUrl) -> dict[str, Any]:
    """Return the options of ``url`` as arguments of redis-py, without the server."""
    options = _with_provider(url.options)
    if url.path:
        options.pop("socket_keepalive", None)  # redis-py's class for sockets lacks it
        options["connection_class"] = redis.UnixDomainSocketConnection
    elif url.tls:
        options["connection_class"] = redis.SSLConnection
    return options


def _place(url: urls.RedisUrl) -> dict[str, Any]:
    if url.path:
        return {"path": url.path}
    [(host, port)] = url.hosts
    return {"host": host, "port": port}


def _with_provider(options: Mapping[str, Any]) -> dict[str, Any]:
    # The number of connections is a setting of its own, for all clients of this process.
    options = {name: value for name, value in options.items() if name != "max_connections"}
    if "credential_provider" in options:
        options["credential_provider"] = load_provider(options["credential_provider"])
    return options


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
        error = kind(f"Redis at {printed_url(url)} {problem}")
        is_broken = isinstance(exc, redis.ConnectionError) and not isinstance(exc, _REPLIES)
        error.unconfirmed = (is_broken or isinstance(exc, redis.TimeoutError)) and not is_not_sent(exc)
        error.was_cut = error.unconfirmed and is_broken
        raise error from exc


#: Texts of a missing permission in a script's error: of Valkey, of Redis 7.4, and of older versions of Redis.
_NOT_ALLOWED: Final = ("ACL failure", "NOPERM", "The user executing the script can't run")
#: Subclasses of redis-py's ConnectionError that are replies.
_REPLIES: Final = (redis.AuthenticationError, redis.BusyLoadingError)
#: Texts of refusals that only a change of the configuration or of the stored data ends.
_PERMANENT: Final = ("unknown command", "DB index is out of range", "invalid DB index")
#: Texts of refusals because of one key: its type, or a value that is not the number that a command or a script expects.
_UNREADABLE: Final = (
    "WRONGTYPE",
    "attempt to ",
    "bad argument",
    "hash value is not",
    "invalid expire time",
    "would overflow",
    "is not a valid float",
    "value is not an integer",
)


def is_unreadable(error: redis.RedisError) -> bool:
    """Return whether Redis refused a command because of what one key holds, while others can be used."""
    return isinstance(error, redis.ResponseError) and any(words in str(error) for words in _UNREADABLE)


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
    if is_unreadable(exc):
        return UnreadableKey, f"refused a command ({reason}); is livecheck_prefix used by LiveCheck alone?"
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
