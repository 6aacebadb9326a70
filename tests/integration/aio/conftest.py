"""A LiveCheck of the asyncio face, on a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from celery import Celery

from livecheck_celery import aio
from tests.helpers.http_server import KEY


@pytest.fixture
def livecheck(redis_url: str) -> Iterator[aio.LiveCheck]:
    """A LiveCheck on a host's app whose broker is the emptied server; 127.0.0.1 receives its tests."""
    app = Celery("shop", broker=redis_url, set_as_current=False)
    livecheck = aio.LiveCheck(app, secret_key=KEY, http_hosts=["127.0.0.1"])
    yield livecheck
    livecheck.close()


@pytest.fixture
def dead_url() -> str:
    """A URL whose server refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"
