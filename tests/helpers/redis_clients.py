"""Clients of Redis, as the store makes them."""

from __future__ import annotations

import redis

from livecheck_celery.store.redis import client
from livecheck_celery.store.redis.pool import Connections


def connect(url: str, timeout: float) -> redis.Redis:
    """Return a client with connections of its own."""
    return client.connect(url, timeout, Connections(4), wait=timeout)
