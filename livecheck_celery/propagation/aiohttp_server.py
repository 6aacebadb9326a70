"""Middleware for `aiohttp.web`, which serves each request as part of the test in its headers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from livecheck_celery.blocks import Block, current_work
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.guard import guarded
from livecheck_celery.models import HEADER_ACCEPTED
from livecheck_celery.propagation.deferral import follow_frameworks
from livecheck_celery.propagation.gate import KNOWN_HEADERS, Gate
from livecheck_celery.propagation.request import RequestScope, accept_request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def install(app: web.Application, gate: Gate) -> None:
    """Make a `LiveCheckMiddleware` the outermost middleware of ``app``, unless it has one of this ``gate``.

    Raises:
        ConfigurationError: ``app`` is not an application of aiohttp, has started, or is part of another.
    """
    if not isinstance(app, web.Application):
        raise ConfigurationError(f"init_aiohttp(): {app!r:.100} is not an aiohttp.web.Application")
    if not any(isinstance(each, LiveCheckMiddleware) and each.gate is gate for each in app.middlewares):
        if app.middlewares.frozen:
            raise ConfigurationError(
                "init_aiohttp(): the application has started, or is part of another; call it before, or for the other"
            )
        app.middlewares.insert(0, LiveCheckMiddleware(gate))
        app.on_response_prepare.append(_on_prepare)


@web.middleware
class LiveCheckMiddleware:
    """Make the test in a request's headers current while the handler serves the request, and in the tasks it starts.

    The outcome is reported to ``gate`` when the response has been sent.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve one request; its response and its errors are unchanged, but for the header that accepts a test."""
        if self._outermost(request) is not self:  # of a sub-application
            return await handler(request)
        headers = _known_headers(request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            # The end of a WebSocket connection is not reported, so the tests triggered in it need not be collected.
            with Block(*accept_request(self.gate, headers), isolated=True):
                return await handler(request)
        scope = RequestScope(self.gate, headers, request.method, request.path, request)
        if scope.accepted:
            follow_frameworks()  # a body that is a generator is sent after the handler
        try:
            with scope:
                try:
                    response = await handler(request)
                except web.HTTPException as exc:
                    _acknowledge(scope, exc)
                    scope.finish(exc.status)  # the outcome is a response, and not an error
                    raise
        except BaseException:
            scope.close()
            raise
        _observe(scope, response)
        return response

    def _outermost(self, request: web.Request) -> LiveCheckMiddleware:
        all_of = (each for app in request.match_info.apps for each in app.middlewares)
        return next((each for each in all_of if isinstance(each, LiveCheckMiddleware) and each.gate is self.gate), self)


async def _on_prepare(_: web.Request, response: web.StreamResponse) -> None:
    """Observe a response whose parts the handler sends."""
    if isinstance(scope := current_work(), RequestScope):
        _prepare(scope, response)


@guarded("aiohttp: failed to observe a response; continuing", None)
def _prepare(scope: RequestScope, response: web.StreamResponse) -> None:
    _acknowledge(scope, response)
    if scope.has_triggered:
        scope.linger()


@guarded("aiohttp: failed to acknowledge a test; continuing", None)
def _acknowledge(scope: RequestScope, response: web.StreamResponse) -> None:
    if scope.accepted:
        response.headers[HEADER_ACCEPTED] = "1"


@guarded("aiohttp: failed to observe a response; continuing", None)
def _observe(scope: RequestScope, response: Any) -> None:
    """Acknowledge the test, and report the outcome when the response has been sent."""
    is_response = isinstance(response, web.StreamResponse)

    @guarded("aiohttp: failed to finish a request; continuing", None)
    def sent(_: object) -> None:
        scope.finish(response.status if is_response else 500)  # the server answers what is no response with a 500
        scope.close()

    # The server serves each request in a task of its own, which sends the response when the handler has returned it.
    task = asyncio.current_task()
    if task is None or (is_response and response.prepared):
        sent(None)
    else:
        if is_response:
            _acknowledge(scope, response)
        task.add_done_callback(sent)


@guarded("aiohttp: failed to read the headers of a request; it carries no test", ())
def _known_headers(request: web.Request) -> list[tuple[str, str]]:
    return [
        (known, value)
        for name, value in request.headers.items()
        if (known := KNOWN_HEADERS.get(name.lower())) is not None
    ]
