"""Connection pools of one process that share one limit, and close connections that were idle for a while.

The stores of a process differ in their timeouts, which belong to a connection, so each has a pool. Together, the pools
keep to one number of connections per server: at the limit, a pool closes an idle connection of another pool, or waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import redis

from livecheck_celery.utils.forks import renew_after_fork

#: Seconds after which an idle connection is closed.
IDLE_FOR: Final = 30.0


class _Idle(NamedTuple):
    pool: BoundedPool
    connection: Any  # a redis.Connection, whose methods redis-py leaves untyped
    since: float


class Connections:
    """The connections of one process: at most ``limit`` to each server, those of subscriptions included."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._servers: dict[Hashable, ServerConnections] = {}

    def to(self, server: Hashable = None) -> ServerConnections:
        """Return the connections to ``server``."""
        return self._servers.get(server) or self._servers.setdefault(server, ServerConnections(self._limit))

    def close(self) -> None:
        """Close the idle connections; a later command opens one again."""
        for connections in list(self._servers.values()):
            connections.close()


class ServerConnections:
    """The connections to one server, which several pools share.

    Attributes:
        limit: maximum number of connections.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's connections, without closing them."""
        self._changed = threading.Condition()
        self._idle: list[_Idle] = []  # the longest idle first
        self._open = 0

    def take(self, pool: BoundedPool, wait: float) -> Any:
        """Return an idle connection of ``pool``, or None if the caller may open one; wait up to ``wait`` seconds.

        Raises:
            ConnectionError: all connections are in use.
        """
        end = time.monotonic() + wait
        with self._changed:
            self._close_idle()
            while True:
                for at in reversed(range(len(self._idle))):
                    if self._idle[at].pool is pool:
                        return self._idle.pop(at).connection
                if self._open < self.limit:
                    self._open += 1
                    return None
                if self._idle:
                    self._idle.pop(0).connection.disconnect()
                    return None
                if not self._changed.wait(end - time.monotonic()):
                    raise redis.ConnectionError(
                        f"all {self.limit} connections of this process are in use (livecheck_redis_max_connections)"
                    )

    def give(self, pool: BoundedPool, connection: Any) -> None:
        """Keep a connection of ``pool`` for its next use."""
        with self._changed:
            self._idle.append(_Idle(pool, connection, time.monotonic()))
            self._close_idle()
            self._changed.notify()

    def forget(self) -> None:
        """Allow another connection in place of one that was closed."""
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def close(self, pool: BoundedPool | None = None) -> None:
        """Close the idle connections of ``pool``, or of all pools."""
        with self._changed:
            mine = [one for one in self._idle if pool in (None, one.pool)]
            self._idle = [one for one in self._idle if pool not in (None, one.pool)]
            self._open -= len(mine)
            self._changed.notify(len(mine))
        for one in mine:
            one.connection.disconnect()

    def _close_idle(self) -> None:
        while self._idle and self._idle[0].since < time.monotonic() - IDLE_FOR:
            self._idle.pop(0).connection.disconnect()
            self._open -= 1


class BoundedPool(redis.ConnectionPool):
    """The connections of one client, among the ``connections`` to its server.

    Args:
        connections: those to the server.
        wait: seconds to wait for a connection, while all are in use.
        options: of each connection.
    """

    def __init__(self, *args: Any, connections: ServerConnections, wait: float, **options: Any) -> None:
        self._connections = connections
        self._wait = wait
        super().__init__(*args, **options)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:  # noqa: ARG002 - redis-py's
        """Return a connection that is open.

        Raises:
            ConnectionError: all connections are in use, or the server refuses one. Nothing was sent.
            TimeoutError: the server did not answer. Nothing was sent.
        """
        self._checkpid()
        try:
            connection = self._connections.take(self, self._wait)
            try:
                if connection is None:
                    connection = self.connection_class(**self.connection_kwargs)
                _open(connection)
            except BaseException:
                if connection is not None:
                    connection.disconnect()
                self._connections.forget()
                raise
        except redis.RedisError as exc:
            mark_not_sent(exc)
            raise
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back; close it if it belongs to a former primary, or to the parent of this process."""
        self._checkpid()
        if connection.pid != self.pid:
            return
        if connection._sock is not None and self.owns_connection(connection):  # noqa: SLF001 - closed, as after an error
            self._connections.give(self, connection)
        else:
            connection.disconnect()
            self._connections.forget()

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: ARG002 - those in use belong to their threads
        """Close the idle connections."""
        self._connections.close(self)


def _open(connection: Any) -> None:
    connection.connect()
    # A connection with data was closed by the server, or left in the middle of a reply.
    with suppress(redis.ConnectionError, redis.TimeoutError, OSError):
        if not connection.can_read():
            return
    connection.disconnect()
    connection.connect()


def mark_not_sent(error: redis.RedisError) -> None:
    """Mark ``error`` as that of a command that was not sent."""
    error.livecheck_not_sent = True  # type: ignore[attr-defined] # redis-py's errors have no such attribute


def is_not_sent(error: redis.RedisError) -> bool:
    """Return whether ``error`` is that of a command that was not sent, so that the server did not execute it."""
    return getattr(error, "livecheck_not_sent", False)
