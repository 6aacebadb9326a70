"""Instrumentation of `aiohttp`, to carry the current test to other services.

A `ClientRequest` is one hop of a redirect. Its headers are replaced only while it is sent, because a middleware of the
caller can send the same request again, to another host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiohttp import ClientRequest, ClientResponse, hdrs

from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.clients.instrumentation import Instrumentation
from livecheck_celery.propagation.gate import OWN_HEADERS, Gate

if TYPE_CHECKING:
    from multidict import CIMultiDict


def instrument(gate: Gate) -> Callable[[], None]:
    """Instrument every session of this process, as ``gate`` allows; return a function that reverts this."""
    instrumentation = Instrumentation(gate)
    carried: WeakKeyDictionary[ClientResponse, str] = WeakKeyDictionary()

    def make(send: Callable[..., Awaitable[ClientResponse]]) -> Callable[..., Awaitable[ClientResponse]]:
        async def send_with_headers(self: ClientRequest, *args: Any, **kwargs: Any) -> ClientResponse:
            headers = instrumentation.apply(lambda gate: _merged(self, gate))
            if headers is None:
                return await send(self, *args, **kwargs)
            original = self.headers
            self.headers = headers
            try:
                response = await send(self, *args, **kwargs)
            finally:
                self.headers = original
            carried[response] = self.url.raw_authority.rpartition("@")[2]  # without a password
            return response

        return send_with_headers

    def make_start(start: Callable[..., Awaitable[ClientResponse]]) -> Callable[..., Awaitable[ClientResponse]]:
        async def start_and_observe(self: ClientResponse, *args: Any, **kwargs: Any) -> ClientResponse:
            response = await start(self, *args, **kwargs)  # reads the headers of the response
            if self in carried:
                instrumentation.answered(lambda: (carried.pop(self), self.status, self.headers))
            return response

        return start_and_observe

    instrumentation.replace(ClientRequest, "send", make)
    instrumentation.replace(ClientResponse, "start", make_start)
    return instrumentation.undo


def withhold_baggage(gate: Gate) -> Callable[[], None]:
    """Send LiveCheck's entries in the baggage to listed hosts only; return a function that reverts this.

    OpenTelemetry adds the baggage once, and aiohttp copies it to all hops of a redirect.
    """
    instrumentation = Instrumentation(gate)

    def make(send: Callable[..., Awaitable[ClientResponse]]) -> Callable[..., Awaitable[ClientResponse]]:
        async def send_without_entries(self: ClientRequest, *args: Any, **kwargs: Any) -> ClientResponse:
            headers = instrumentation.apply(lambda gate: _without_entries(self, gate), always=True)
            if headers is None:
                return await send(self, *args, **kwargs)
            original = self.headers
            self.headers = headers
            try:
                return await send(self, *args, **kwargs)
            finally:
                self.headers = original

        return send_without_entries

    instrumentation.replace(ClientRequest, "send", make)
    return instrumentation.undo


def _without_entries(request: ClientRequest, gate: Gate) -> CIMultiDict[str] | None:
    if not baggage.is_withheld(request.headers, lambda: gate.lists(request.url.raw_host)):
        return None
    headers = request.headers.copy()
    baggage.remove_entries(headers)
    return headers


def _merged(request: ClientRequest, gate: Gate) -> CIMultiDict[str] | None:
    if request.method == hdrs.METH_CONNECT:  # opens a tunnel; the request in it is separate
        return None
    headers = gate.headers_for(request.url.raw_host)
    if not headers:
        return None
    merged = request.headers.copy()
    for name in OWN_HEADERS:
        merged.popall(name, None)
    merged.update(headers)
    return merged
