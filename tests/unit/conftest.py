"""Unit tests have no server: the same fixtures, on a fake one in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import fakeredis
import pytest
import redis

from livecheck_celery.config import Settings
from livecheck_celery.propagation.clients import registry as clients
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.store import Store
from tests.helpers.factories import make_settings
from tests.helpers.http_clients import METHODS, methods_of
from tests.helpers.http_server import Server, running

URL = "redis://fake:6379/0"


@pytest.fixture
def redis_client() -> Iterator[redis.Redis]:
    """A fake server, new for each test."""
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


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server that records the requests."""
    with running() as server:
        yield server


@pytest.fixture
def instrument() -> Iterator[Callable[[str, Gate], Callable[[], None]]]:
    """`livecheck_celery.propagation.clients.registry.instrument`, undone at the end of the test."""
    before = {library: methods_of(library) for library in METHODS}
    with ExitStack() as stack:

        def instrument(library: str, gate: Gate) -> Callable[[], None]:
            undo = clients.instrument(library, gate)
            stack.callback(undo)
            return undo

        yield instrument
    assert before == {library: methods_of(library) for library in METHODS}
