"""Connections to the primary that Sentinel names."""

from __future__ import annotations

from typing import Any

from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from livecheck_celery.store.redis.pool import BoundedPool
from livecheck_celery.utils.redis_urls import Servers


class SentinelPool(SentinelConnectionPool, BoundedPool):
    """Connections to the primary; each new connection asks a sentinel for its address."""


def sentinel_pool(servers: Servers, options: dict[str, Any], sentinel_options: dict[str, Any]) -> SentinelPool:
    """Return a pool of connections to the primary of ``servers``, with connection ``options`` of redis-py.

    Raises:
        ValueError: the URL has no ``master_name``.
    """
    if not servers.master_name:
        raise ValueError("no master_name")
    # All sentinels together can take as long as the primary.
    each = options["socket_timeout"] / len(servers.hosts)
    bounds = {"socket_timeout": each, "socket_connect_timeout": each, "retry": options["retry"], "protocol": 2}
    sentinel_tls = sentinel_options.pop("connection_class", None) is not None
    sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py's
        servers.hosts, sentinel_kwargs={**sentinel_options, "ssl": sentinel_tls, "decode_responses": True, **bounds}
    )
    kind = options.pop("connection_class", None)
    return SentinelPool(  # type: ignore[no-untyped-call] # redis-py's
        servers.master_name,
        sentinel,
        connection_class=SentinelManagedSSLConnection if kind else SentinelManagedConnection,
        **options,
    )
