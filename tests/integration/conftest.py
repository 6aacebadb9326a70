"""A LiveCheck in this process, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import LiveCheck
from tests.helpers.faces import FACES, Face
from tests.helpers.http_server import KEY


@pytest.fixture
def livecheck(redis_url: str) -> Iterator[LiveCheck]:
    """A LiveCheck on a host's app whose broker is the emptied server."""
    livecheck = LiveCheck(Celery("shop", broker=redis_url, set_as_current=False), secret_key=KEY)
    yield livecheck
    livecheck.close()


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Either face."""
    face: Face = request.param
    return face


@pytest.fixture
def faced(face: Face, redis_url: str) -> Iterator[Any]:
    """As ``livecheck``, of either face."""
    livecheck = face.livecheck(redis_url)
    yield livecheck
    livecheck.close()
