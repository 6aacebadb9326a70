"""ASGI middleware, which serves each request as part of the test in its headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from livecheck_celery.blocks import Block
from livecheck_celery.guard import GUARD, guarded
from livecheck_celery.models import HEADER_ACCEPTED
from livecheck_celery.propagation.gate import KNOWN_HEADERS, Gate
from livecheck_celery.propagation.request import RequestScope, accept_request, is_served, set_served

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS: Final = {name.encode(): name for name in KNOWN_HEADERS}

_ACCEPTED: Final = (HEADER_ACCEPTED.lower().encode(), b"1")

#: Types of the messages that end a response when sent without ``more_body``: the standard one, and file extensions.
_BODY_TYPES: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class LiveCheckMiddleware:
    """Make the test in a request's headers current while ``app`` serves the request, and in the tasks it starts.

    Wraps any ASGI application, for HTTP and WebSockets. The outcome of an HTTP request is reported to ``gate`` when the
    last part of the response has been sent.
    """

    def __init__(self, app: ASGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; messages pass unchanged, but for the header that accepts a test."""
        serve = {"http": self._serve_http, "websocket": self._serve_websocket}.get(scope.get("type", ""))
        if serve is None or is_served(scope, self.gate):
            await self.app(scope, receive, send)
            return
        set_served(scope, self.gate)
        try:
            await serve(scope, receive, send)
        finally:
            set_served(scope, None)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = RequestScope(self.gate, _known_headers(scope), scope.get("method", ""), _path(scope), scope)
        try:
            with request:
                await self.app(scope, receive, _Response(request, send).send)
        finally:
            request.close()

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The end of a WebSocket connection is not reported, so the tests triggered in it need not be collected.
        with Block(*accept_request(self.gate, _known_headers(scope)), isolated=True):
            await self.app(scope, receive, send)


class _Response:
    """The response to one request: sends its messages, and observes them."""

    def __init__(self, request: RequestScope, send: Send) -> None:
        self._request = request
        self._send = send
        self._status = 0

    async def send(self, message: Message) -> None:
        """Send a message to the server."""
        await self._send(self._acknowledged(message) if self._request.accepted else message)
        self._observe(message)

    @guarded("asgi: failed to observe a response; continuing", None)
    def _observe(self, message: Message) -> None:
        if message.get("type") == "http.response.start":
            self._status = message["status"]
        if self._request.has_triggered:
            self._request.linger()  # in the task that sends the parts, whichever part triggered
        if message.get("type") in _BODY_TYPES and not message.get("more_body", False):
            self._request.finish(self._status)
            self._request.close()  # background tasks are part of the blocks in which they were added, and of no other

    @staticmethod
    def _acknowledged(message: Message) -> Message:
        with GUARD("asgi", "asgi: failed to acknowledge a test; continuing"):
            if message.get("type") == "http.response.start":
                return {**message, "headers": [*message.get("headers", ()), _ACCEPTED]}
        return message


@guarded("asgi: failed to read the headers of a request; it carries no test", ())
def _known_headers(scope: Scope) -> list[tuple[str, str]]:
    return [
        (known, value.decode("latin-1"))
        for name, value in scope.get("headers", ())
        if (known := _HEADERS.get(name.lower())) is not None
    ]


@guarded("asgi: failed to read the path of a request; continuing", "")
def _path(scope: Scope) -> str:
    """Return the full path: by the ASGI specification ``path`` includes ``root_path``, but some servers omit it."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path if path == root or path.startswith(root.rstrip("/") + "/") else root + path
