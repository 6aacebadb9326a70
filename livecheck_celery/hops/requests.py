"""How a `requests.Session` carries the current test to other services."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from livecheck_celery.hops.gate import Gate


def carry(session: requests.Session, gate: Gate) -> requests.Session:
    """Make ``session`` carry the current test as ``gate`` says; adapters mounted on it later carry nothing."""
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, _CarryingAdapter(adapter, gate))
    return session


class _CarryingAdapter(BaseAdapter):
    """Adds the headers to what another adapter sends.

    An adapter sees each hop of a redirect by itself. It adds the headers to a copy, as requests makes the next hop's
    request out of this one's and would take them along to wherever that goes.
    """

    def __init__(self, inner: BaseAdapter, gate: Gate) -> None:
        super().__init__()
        self._inner = inner
        self._gate = gate

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if headers := self._gate.headers_for(urlsplit(request.url or "").hostname):
            request = request.copy()
            request.headers.update(headers)
        return self._inner.send(request, *args, **kwargs)

    def close(self) -> None:
        self._inner.close()
