"""How `requests` carries the current test to other services.

An adapter sends each hop of a redirect by itself. It is given a copy of the request with the headers, as requests makes
the next hop's request out of this one's and would take them along to wherever that goes.
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

from livecheck_celery.propagation.clients.instrumentation import Instrumentation
from livecheck_celery.propagation.gate import Gate


def carry(session: requests.Session, gate: Gate) -> requests.Session:
    """Make ``session`` carry the current test as ``gate`` says; adapters mounted on it later carry nothing."""
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, _CarryingAdapter(adapter, gate))
    return session


def instrument(gate: Gate) -> Callable[[], None]:
    """Make every session of this process carry what is current as ``gate`` says; what is returned undoes it.

    Adapters that do not send by `requests.adapters.HTTPAdapter` carry nothing.
    """
    instrumentation = Instrumentation(gate)

    def make(send: Callable[..., Response]) -> Callable[..., Response]:
        def carrying(self: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            return _send(instrumentation, partial(send, self), request, *args, **kwargs)

        return carrying

    instrumentation.replace(HTTPAdapter, "send", make)
    return instrumentation.undo


class _CarryingAdapter(BaseAdapter):
    """Adds the headers to what another adapter sends."""

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
    carrying = instrumentation.apply(lambda gate: _with_headers(request, gate))
    if carrying is None:
        return send(request, *args, **kwargs)
    # Who sends it again, as digest authentication does, must send the caller's own.
    try:
        response = send(carrying, *args, **kwargs)
    except requests.RequestException as exc:
        exc.request = request
        raise
    response.request = request
    return response


def _with_headers(request: PreparedRequest, gate: Gate) -> PreparedRequest | None:
    headers = gate.headers_for(urlsplit(request.url or "").hostname)
    if not headers:
        return None
    carrying = copy(request)
    carrying.headers = request.headers.copy()
    carrying.headers.update(headers)
    return carrying
