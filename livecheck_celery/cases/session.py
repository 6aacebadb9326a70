"""The requests session of cases and the heartbeat: from the environment it takes proxies and certificates only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from contextlib import suppress
from ipaddress import IPv4Address
from socket import inet_aton
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
from requests import PreparedRequest, Response
from requests.utils import get_auth_from_url

from livecheck_celery.utils.hosts import address_of
from livecheck_celery.utils.secrets import is_secret

_LOCALHOST: Final = "localhost"
#: Headers that requests has made for the target of a redirect.
_OF_NEW_HOST: Final = frozenset({"cookie", "proxy-authorization"})


class Session(requests.Session):  # types-requests leaves the methods below untyped
    """A session without the credentials of ``~/.netrc``, and without proxies for loopback addresses.

    TLS is verified; ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` name other certificates, but do not disable it.
    """

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        """Prepare ``request``; its credentials are those of ``auth``, its header or its URL."""
        if not request.auth and not self.auth:  # requests would read ~/.netrc
            has_header = _has_authorization(request.headers) or _has_authorization(self.headers)
            request.auth = _unchanged if has_header else _credentials(request.url) or _unchanged
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
        if str(prepared_request.url).startswith("https:"):  # requests before 2.31 adds the login of the proxy
            prepared_request.headers.pop("Proxy-Authorization", None)
        if not is_loopback(prepared_request.url):
            return rebuilt
        environment = getproxies()
        return {scheme: proxy for scheme, proxy in rebuilt.items() if environment.get(scheme) != proxy}

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Remove credentials and other secrets from the headers of a redirect to another host."""
        if self.leaves(response.request.url, prepared_request.url):
            remove_secrets(prepared_request.headers, keep=_OF_NEW_HOST)

    def leaves(self, url: Any, target: Any) -> bool:
        """Return whether a redirect from ``url`` to ``target`` leaves the host, so that secrets are not sent on."""
        return bool(self.should_strip_auth(url, target))  # type: ignore[no-untyped-call] # see above


def remove_secrets(headers: MutableMapping[str, Any], *, keep: Collection[str]) -> None:
    """Remove the headers whose names are those of secrets, but not those to ``keep``, in lower case."""
    for name in [name for name in headers if is_secret(name) and name.lower() not in keep]:
        del headers[name]


def is_loopback(url: Any) -> bool:
    """Return whether the host of ``url`` is this machine, by name or address."""
    host = (urlsplit(str(url)).hostname or "").rstrip(".")
    if host == _LOCALHOST or host.endswith(f".{_LOCALHOST}"):
        return True
    address = address_of(host)
    with suppress(OSError, ValueError):  # it is a name
        address = address or IPv4Address(inet_aton(host))  # 127.1, as the system reads it
    return address is not None and (address.is_loopback or address.is_unspecified)


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
