"""Requests to an ASGI application behind the middleware."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from livecheck_celery.context import current_test
from livecheck_celery.propagation.asgi import LiveCheckMiddleware
from tests.helpers.factories import make_gate
from tests.helpers.marks import synthetic_case
from tests.helpers.web import KEY, PATH, SIGNED

App = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
START = {"type": "http.response.start", "status": 201, "headers": []}
BODY = {"type": "http.response.body", "body": b"whole"}


def raw(headers: dict[str, str]) -> Headers:
    """Return ``headers`` as a scope has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


CARRIES, ACCEPTED = raw(SIGNED), (b"livecheck-accepted", b"1")


def scope_of(headers: Headers, **others: Any) -> dict[str, Any]:
    """Build the scope of a POST to `PATH` with ``headers``."""
    scope = {"type": "http", "method": "POST", "path": PATH, "root_path": "/shop", "query_string": b"side=buy"}
    return scope | {"headers": [(b"host", b"shop"), *headers]} | others


async def receive() -> dict[str, Any]:
    """Receive an empty body."""
    return {"type": "http.request", "body": b""}


async def serve(
    app: App, scope: dict[str, Any], finished: list[dict[str, Any]] | None = None, key: tuple[str, ...] = KEY
) -> list[Any]:
    """Serve one request by ``app`` behind the middleware; return the messages that the server gets."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    await LiveCheckMiddleware(app, make_gate(*key, finished=finished))(scope, receive, send)
    return sent


async def respond(scope: Any, receive: Any, send: Any) -> None:
    """Send `START` and `BODY`: an application."""
    await send(START)
    await send(BODY)


def context_here() -> list[object]:
    """Return the current test, and the case of the fake request of which the running code is part."""
    return [current_test(), synthetic_case()]
