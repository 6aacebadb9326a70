"""How a `requests.Session` carries the current test to other services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from livecheck_celery import carrier


def carry(session: requests.Session, secret_key: str | None, hosts: Iterable[str]) -> requests.Session:
    """Make ``session`` carry the current test, signed, to ``hosts`` and to no other; without ``secret_key``, to none.

    Hosts are compared whole, without case and port. Adapters mounted on the session later carry nothing.
    """
    if secret_key:
        allowed = frozenset(filter(None, map(_hostname, hosts)))
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, _CarryingAdapter(adapter, secret_key, allowed))
    return session


class _CarryingAdapter(BaseAdapter):
    """Adds the headers to what another adapter sends.

    An adapter sees each hop of a redirect by itself. It adds the headers to a copy, as requests makes the next hop's
    request out of this one's and would take them along to wherever that goes.
    """

    def __init__(self, inner: BaseAdapter, secret_key: str, hosts: frozenset[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secret_key = secret_key
        self._hosts = hosts

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if urlsplit(request.url or "").hostname in self._hosts and (headers := carrier.outgoing()):
            request = request.copy()
            request.headers.update(carrier.sign(headers, self._secret_key))
        return self._inner.send(request, *args, **kwargs)

    def close(self) -> None:
        self._inner.close()


def _hostname(host: str) -> str | None:
    host = host.strip()
    if host.count(":") > 1 and not host.startswith("["):  # an IPv6 address on its own
        host = f"[{host}]"
    return urlsplit(f"//{host}").hostname
