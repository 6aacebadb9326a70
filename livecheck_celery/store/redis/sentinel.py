"""Reaching the Redis that Sentinel says is the primary."""

from __future__ import annotations

from typing import Any

import redis
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from livecheck_celery.utils.redis_urls import Servers


class SentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the primary; threads take turns, and each new connection asks a sentinel where that is."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close them; or, when there is a new primary, those that nobody uses. Before redis 8 it takes no such word."""
        if inuse_connections:
            super().disconnect()
            return
        for connection in list(self.pool.queue):
            if connection is not None:
                connection.disconnect()


def sentinel_pool(servers: Servers, options: dict[str, Any], sentinel_options: dict[str, Any]) -> SentinelPool:
    """Connections to the primary of ``servers``; the ``options`` are what redis-py takes to connect.

    Raises:
        ValueError: the URL does not say what the sentinels call it.
    """
    if not servers.master_name:
        raise ValueError("no master_name")
    # Together they may take as long as the one they lead to.
    each = options["socket_timeout"] / len(servers.hosts)
    bounds = {"socket_timeout": each, "socket_connect_timeout": each, "retry": options["retry"], "protocol": 2}
    sentinel_tls = sentinel_options.pop("connection_class", None) is not None
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        servers.hosts, sentinel_kwargs={**sentinel_options, "ssl": sentinel_tls, "decode_responses": True, **bounds}
    )
    kind = options.pop("connection_class", None)
    return SentinelPool(  # type: ignore[no-untyped-call]
        servers.master_name,
        sentinel,
        connection_class=SentinelManagedSSLConnection if kind else SentinelManagedConnection,
        **options,
    )
