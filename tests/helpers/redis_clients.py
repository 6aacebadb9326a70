"""Clients of Redis, as the store makes them."""

from __future__ import annotations

from typing import Any

import redis

from livecheck_celery.store.redis import client
from livecheck_celery.store.redis.pool import Connections


def connect(url: str, timeout: float) -> redis.Redis:
    """Return a client with connections of its own."""
    return client.connect(url, timeout, Connections(4), wait=timeout)


def calls(client: redis.Redis) -> int:
    """Return the number of commands so far, with those of scripts."""
    stats: dict[str, Any] = client.info("commandstats")
    return sum(one["calls"] for name, one in stats.items() if name != "cmdstat_info")
