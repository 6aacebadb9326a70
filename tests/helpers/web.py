"""A signed web request, and the outcome that a gate reports for it."""

from __future__ import annotations

import asyncio
import io
from typing import Any
from wsgiref.util import setup_testing_defaults

from livecheck_celery.context import collect
from livecheck_celery.models import TestExecution
from tests.helpers.factories import make_test
from tests.helpers.http_server import KEY as SECRET
from tests.helpers.signing import sign

KEY = (SECRET,)
TEST = make_test("order-1")
OTHER = make_test("other")
SIGNED = sign(TEST.as_headers(), KEY)
PATH = "/shop/order/create/"


def environ_of(headers: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Build the environ of a WSGI request with ``headers``."""
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(), "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    return environ | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()} | others


def trigger(test: TestExecution) -> None:
    """Register ``test`` as triggered here, as trigger() does."""
    collect(test)


def succeeded(*tests: TestExecution, status: int = 201, path: str = PATH, method: str = "POST") -> dict[str, Any]:
    """Build the successful outcome of a request in ``tests``, as the gate of `factories.make_gate` records it."""
    value = {"method": method, "path": path, "status": status}
    return {"kind": "request", "name": f"{method} {path}", "tests": list(tests), "value": value}


def failed(error: str, *tests: TestExecution, path: str = PATH, method: str = "POST") -> dict[str, Any]:
    """Build the failed outcome of a request in ``tests``."""
    name = f"{method} {path}"
    return {"kind": "request", "name": name, "tests": list(tests), "error": f"{name} {error}"}


async def request_asgi(app: Any, path: str, method: str = "GET", headers: dict[str, str] = SIGNED) -> tuple[int, bytes]:
    """Return status and body of the response of ``app``, an ASGI application, to a client that reads all of it."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"shop"), *((name.lower().encode(), text.encode()) for name, text in headers.items())],
        "server": ("shop", 80),
        "client": ("127.0.0.1", 4321),
    }
    messages: list[Any] = []
    request = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return request.pop() if request else await asyncio.Future()

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        messages.append(message)

    await app(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])
