"""Connections to the primary that Sentinel names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from livecheck_celery.store.redis.pool import BoundedPool
from livecheck_celery.utils.redis_urls import RedisUrl


class SentinelPool(SentinelConnectionPool, BoundedPool):
    """Connections to the primary; each new connection asks a sentinel for its address."""


def sentinel_pool(url: RedisUrl, options: Mapping[str, Any], sentinel_options: Mapping[str, Any]) -> SentinelPool:
    """Return a pool of connections to the primary of ``url``, with arguments of redis-py for it and for sentinels."""
    # All sentinels together can take as long as the primary.
    each = options["socket_timeout"] / len(url.hosts)
    bounds = {"socket_timeout": each, "socket_connect_timeout": each, "retry": options["retry"], "protocol": 2}
    to_sentinel = {**sentinel_options, "ssl": url.sentinel_tls, "decode_responses": True, **bounds}
    sentinel = Sentinel(list(url.hosts), sentinel_kwargs=to_sentinel)  # type: ignore[no-untyped-call] # redis-py's
    return SentinelPool(  # type: ignore[no-untyped-call] # redis-py's
        url.master_name,
        sentinel,
        connection_class=SentinelManagedSSLConnection if url.tls else SentinelManagedConnection,
        **options,
    )
