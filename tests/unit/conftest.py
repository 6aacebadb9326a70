"""Unit tests have no server: the same fixtures, on a fake one in this process."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis
from support import make_settings

from livecheck_celery.config import Settings
from livecheck_celery.store import Store

URL = "redis://fake:6379/0"


@pytest.fixture
def redis_client() -> Iterator[redis.Redis]:
    """A fake server of the test's own."""
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        yield client


@pytest.fixture
def settings() -> Settings:
    """Settings that name no server."""
    return make_settings(URL)


@pytest.fixture
def store(settings: Settings, redis_client: redis.Redis) -> Store:
    """A store on the fake server."""
    return Store(settings, redis_client)
