"""ASGI middleware: a request that carries a test is handled as part of that test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from livecheck_celery.context import triggered_var
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.gate import LOOKED_AT, Gate
from livecheck_celery.propagation.request import Handling, accepted

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS: Final = {name.encode(): name for name in LOOKED_AT}

#: Messages of which one without ``more_body`` ends a response: the plain one, and those of extensions that send files.
_BODIES: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class LiveCheckMiddleware:
    """Make the test that a request carries current while ``app`` handles it.

    That is for an HTTP request as for a WebSocket, and for the tasks that the application starts in it. What the
    headers are worth, ``gate`` says; it is told of the answer to an HTTP request when its last part has been sent.
    """

    def __init__(self, app: ASGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection as ASGI says; messages pass as they are, and errors are the application's own."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._converse(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        handling = Handling(self.gate, _headers_in(scope), scope.get("method", ""), _path(scope))
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] in _BODIES and not message.get("more_body", False):
                handling.answered(status)

        with handling:
            await self.app(scope, receive, watched)

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        tokens = carrier.enter(accepted(self.gate, _headers_in(scope)))
        # Nobody hears of the end of a conversation, so nobody need know which tests were triggered in it.
        triggered = triggered_var.set(None)
        try:
            await self.app(scope, receive, send)
        finally:
            with suppress(ValueError):
                triggered_var.reset(triggered)
                carrier.leave(tokens)


def _headers_in(scope: Scope) -> list[tuple[str, str]]:
    return [
        (known, value.decode("latin-1"))
        for name, value in scope.get("headers", ())
        if (known := _HEADERS.get(name.lower())) is not None
    ]


def _path(scope: Scope) -> str:
    """The path from the root of the server: as ASGI has it, ``path`` begins with ``root_path``; some leave that off."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path if path == root or path.startswith(root.rstrip("/") + "/") else root + path
