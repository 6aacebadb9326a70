"""Instrumentation of `httpx`, to carry the current test to other services.

A transport sends each hop of a redirect separately. It gets a copy of the request with the headers, because httpx
builds the next hop from the original request, and would send the headers on to another host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from httpx import AsyncBaseTransport, AsyncHTTPTransport, HTTPTransport, Request, Response

from livecheck_celery.propagation.clients.instrumentation import Instrumentation
from livecheck_celery.propagation.gate import OWN_HEADERS, Gate


def instrument(gate: Gate) -> Callable[[], None]:
    """Instrument every client of this process, as ``gate`` allows; return a function that reverts this.

    Transports that do not build on `httpx.HTTPTransport` or `httpx.AsyncHTTPTransport` carry nothing.
    """
    instrumentation = Instrumentation(gate)

    def make(handle: Callable[[HTTPTransport, Request], Response]) -> Callable[..., Response]:
        def handle_request(self: HTTPTransport, request: Request) -> Response:
            with_headers = instrumentation.apply(lambda gate: _with_headers(request, gate))
            if with_headers is None:
                return handle(self, request)
            response = handle(self, with_headers)
            instrumentation.answered(lambda: (_authority(request), response.status_code, response.headers))
            return response

        return handle_request

    def make_async(handle: Callable[[AsyncHTTPTransport, Request], Awaitable[Response]]) -> Callable[..., object]:
        async def handle_async_request(self: AsyncHTTPTransport, request: Request) -> Response:
            return await _send(instrumentation, partial(handle, self), request)

        return handle_async_request

    instrumentation.replace(HTTPTransport, "handle_request", make)
    instrumentation.replace(AsyncHTTPTransport, "handle_async_request", make_async)
    return instrumentation.undo


class CarryingTransport(AsyncBaseTransport):
    """Wraps another transport, and adds the headers to its requests."""

    def __init__(self, inner: AsyncBaseTransport, gate: Gate) -> None:
        self._inner = inner
        self._instrumentation = Instrumentation(gate)

    async def handle_async_request(self, request: Request) -> Response:
        """Send one hop."""
        return await _send(self._instrumentation, self._inner.handle_async_request, request)

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._inner.aclose()


async def _send(
    instrumentation: Instrumentation, send: Callable[[Request], Awaitable[Response]], request: Request
) -> Response:
    with_headers = instrumentation.apply(lambda gate: _with_headers(request, gate))
    if with_headers is None:
        return await send(request)
    response = await send(with_headers)
    instrumentation.answered(lambda: (_authority(request), response.status_code, response.headers))
    return response


def _authority(request: Request) -> str:
    return request.url.netloc.decode("ascii")


def _with_headers(request: Request, gate: Gate) -> Request | None:
    headers = gate.headers_for(request.url.raw_host.decode("ascii"))
    if not headers:
        return None
    merged = request.headers.copy()
    for name in OWN_HEADERS:
        merged.pop(name, None)
    merged.update(headers)
    return Request(request.method, request.url, headers=merged, stream=request.stream, extensions=request.extensions)
