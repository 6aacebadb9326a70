"""A LiveCheck without a server, and fixtures for HTTP requests of a case."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import requests
from celery import Celery

from livecheck_celery import LiveCheck


@pytest.fixture
def livecheck() -> LiveCheck:
    """A LiveCheck whose Redis refuses connections."""
    return LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """A session that ignores the proxies of the environment."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def dead_url() -> str:
    """A URL whose server refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"
