"""How the client of `aiohttp` carries the current test to other services.

A `ClientRequest` is one hop of a redirect. Its headers are replaced only while they are written, as a middleware of the
caller's may send the same request again, to wherever it likes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import ClientRequest, ClientResponse, hdrs

from livecheck_celery.propagation.clients.instrumentation import Instrumentation
from livecheck_celery.propagation.gate import Gate

if TYPE_CHECKING:
    from multidict import CIMultiDict


def instrument(gate: Gate) -> Callable[[], None]:
    """Make every session of this process carry what is current as ``gate`` says; what is returned undoes it."""
    instrumentation = Instrumentation(gate)

    def make(send: Callable[..., Awaitable[ClientResponse]]) -> Callable[..., Awaitable[ClientResponse]]:
        async def carrying(self: ClientRequest, *args: Any, **kwargs: Any) -> ClientResponse:
            headers = instrumentation.apply(lambda gate: _merged(self, gate))
            if headers is None:
                return await send(self, *args, **kwargs)
            before = self.headers
            self.headers = headers
            try:
                return await send(self, *args, **kwargs)
            finally:
                self.headers = before

        return carrying

    instrumentation.replace(ClientRequest, "send", make)
    return instrumentation.undo


def _merged(request: ClientRequest, gate: Gate) -> CIMultiDict[str] | None:
    if request.method == hdrs.METH_CONNECT:  # asks a proxy for a tunnel; what goes through it is another request
        return None
    headers = gate.headers_for(request.url.raw_host)
    if not headers:
        return None
    merged = request.headers.copy()
    merged.update(headers)
    return merged
