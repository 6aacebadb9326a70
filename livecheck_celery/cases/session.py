"""The requests session of cases: what a case asks for precedes what the environment of the worker says."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
from requests import PreparedRequest, Response
from requests.utils import get_auth_from_url

_LOCALHOST = "localhost"


class Session(requests.Session):  # types-requests leaves the methods below untyped
    """A session that prefers a request's own credentials to ``~/.netrc``, and no proxy for loopback addresses.

    requests replaces an ``Authorization`` header, and the credentials of a URL, by those of ``~/.netrc``.
    """

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        """Prepare ``request``; its header and its URL precede ``~/.netrc``."""
        if not request.auth and not self.auth:
            in_url = _credentials(request.url)
            if _has_authorization(request.headers) or _has_authorization(self.headers):
                request.auth = _unchanged
            elif in_url:
                request.auth = in_url
        return super().prepare_request(request)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return the settings of a request; the proxies of the environment are not for this host."""
        settings = super().merge_environment_settings(url, dict(proxies or {}), stream, verify, cert)
        if is_loopback(url):
            settings["proxies"] = {**self.proxies, **(proxies or {})}
        return settings

    def rebuild_proxies(self, prepared_request: PreparedRequest, proxies: Any) -> Any:
        """Return the proxies for the target of a redirect."""
        rebuilt = super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call] # see above
        if not is_loopback(prepared_request.url):
            return rebuilt
        environment = getproxies()
        return {scheme: proxy for scheme, proxy in rebuilt.items() if environment.get(scheme) != proxy}

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Keep the ``Authorization`` header on a redirect within the host; otherwise do as requests does."""
        urls = response.request.url, prepared_request.url
        has_moved = self.should_strip_auth(*urls)  # type: ignore[no-untyped-call] # see above
        if has_moved or "Authorization" not in prepared_request.headers:
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call] # see above


def is_loopback(url: Any) -> bool:
    """Return whether the host of ``url`` is this machine, by name or address."""
    host = urlsplit(str(url)).hostname or ""
    if host == _LOCALHOST or host.endswith(f".{_LOCALHOST}"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _has_authorization(headers: Mapping[Any, Any] | MutableMapping[Any, Any] | None) -> bool:
    names = (name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in headers or ())
    return any(name.lower() == "authorization" for name in names)


def _credentials(url: Any) -> tuple[str, str] | None:
    try:
        found = get_auth_from_url(str(url))
    except ValueError:  # not a URL, as requests reports
        return None
    return found if any(found) else None


def _unchanged(request: PreparedRequest) -> PreparedRequest:
    return request
