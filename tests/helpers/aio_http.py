"""Requests of a case of the asyncio face, each on an event loop of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from livecheck_celery.aio import http
from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import ServiceDown
from livecheck_celery.propagation.gate import Gate
from tests.helpers.factories import make_gate
from tests.helpers.scripted_http import QUICK

#: Sends nothing.
CLOSED = make_gate()


async def fetching(
    method: str, url: str, settings: UrlSettings = QUICK, *, gate: Gate = CLOSED, **kwargs: Any
) -> bytes:
    """Send a request with a client of its own, as `Case.url_request` does, and return the body."""
    async with http.client(gate) as client:
        return await http.fetch(method, url, settings=settings, client=client, **kwargs)


def fetch(method: str, url: str, settings: UrlSettings = QUICK, **kwargs: Any) -> bytes:
    """As `fetching`, on a new event loop."""
    return asyncio.run(fetching(method, url, settings, **kwargs))


def failure(method: str, url: str, settings: UrlSettings = QUICK, **kwargs: Any) -> str:
    """Send a request that fails as `ServiceDown`, and return the message of the error."""
    with pytest.raises(ServiceDown) as failed:
        fetch(method, url, settings, **kwargs)
    message = str(failed.value)
    assert "\n" not in message
    return message
