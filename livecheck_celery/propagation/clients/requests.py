"""Instrumentation of `requests`, to carry the current test to other services.

An adapter sends each hop of a redirect separately. It gets a copy of the request with the headers, because requests
builds the next hop from the original request, and would send the headers on to another host.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter

from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.clients.instrumentation import Instrumentation, has_all
from livecheck_celery.propagation.gate import OWN_HEADERS, Gate


def carry(session: requests.Session, gate: Gate) -> requests.Session:
    """Make ``session`` carry the current test, as ``gate`` allows; adapters mounted later carry nothing."""
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, _CarryingAdapter(adapter, gate))
    return session


def instrument(gate: Gate) -> Callable[[], None]:
    """Instrument every session of this process, as ``gate`` allows; return a function that reverts this.

    Adapters that do not build on `requests.adapters.HTTPAdapter` carry nothing.
    """
    instrumentation = Instrumentation(gate)

    def make(send: Callable[..., Response]) -> Callable[..., Response]:
        def send_with_headers(self: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            return _send(instrumentation, partial(send, self), request, *args, **kwargs)

        return send_with_headers

    instrumentation.replace(HTTPAdapter, "send", make)
    return instrumentation.undo


def withhold_baggage(gate: Gate) -> Callable[[], None]:
    """Send LiveCheck's entries in the baggage to listed hosts only; return a function that reverts this.

    OpenTelemetry adds the baggage once, and requests copies it to all hops of a redirect.
    """
    instrumentation = Instrumentation(gate)

    def make(send: Callable[..., Response]) -> Callable[..., Response]:
        def send_without_entries(self: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            without = instrumentation.apply(lambda gate: _without_entries(request, gate), always=True)
            if without is None:
                return send(self, request, *args, **kwargs)
            response = send(self, without, *args, **kwargs)
            response.request = request
            return response

        return send_without_entries

    instrumentation.replace(HTTPAdapter, "send", make)
    return instrumentation.undo


class _CarryingAdapter(BaseAdapter):
    """Wraps another adapter, and adds the headers to its requests."""

    def __init__(self, inner: BaseAdapter, gate: Gate) -> None:
        super().__init__()
        self._inner = inner
        self._instrumentation = Instrumentation(gate)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return _send(self._instrumentation, self._inner.send, request, *args, **kwargs)

    def close(self) -> None:
        self._inner.close()


def _send(
    instrumentation: Instrumentation,
    send: Callable[..., Response],
    request: PreparedRequest,
    *args: Any,
    **kwargs: Any,
) -> Response:
    with_headers = instrumentation.apply(lambda gate: _with_headers(request, gate))
    if with_headers is None:
        return send(request, *args, **kwargs)
    # Digest authentication and other hooks re-send the request of the response, which must be the caller's own.
    try:
        response = send(with_headers, *args, **kwargs)
    except requests.RequestException as exc:
        exc.request = request
        raise
    response.request = request
    instrumentation.answered(lambda: (_authority(request), response.status_code, response.headers))
    return response


def _authority(request: PreparedRequest) -> str:
    return urlsplit(request.url or "").netloc.rpartition("@")[2]  # without a password


def _without_entries(request: PreparedRequest, gate: Gate) -> PreparedRequest | None:
    if not baggage.is_withheld(request.headers, lambda: gate.lists(urlsplit(request.url or "").hostname)):
        return None
    without = copy(request)
    without.headers = request.headers.copy()
    baggage.remove_entries(without.headers)
    return without


def _with_headers(request: PreparedRequest, gate: Gate) -> PreparedRequest | None:
    headers = gate.headers_for(urlsplit(request.url or "").hostname)
    if not headers or has_all(request.headers, headers):
        return None
    with_headers = copy(request)
    with_headers.headers = request.headers.copy()
    for name in OWN_HEADERS:
        with_headers.headers.pop(name, None)
    with_headers.headers.update(headers)
    return with_headers
