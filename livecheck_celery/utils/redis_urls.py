"""Redis URLs: redis-py's, kombu's for Sentinel, and LiveCheck's for a cluster.

The URL of Sentinel is ``sentinel://host:26379;sentinel://host2:26379/0``, that of a cluster is
``redis+cluster://host:6379;redis+cluster://host2:6379``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ssl import VerifyMode
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

SENTINEL: Final = "sentinel"
CLUSTER: Final = ("redis+cluster", "rediss+cluster")
#: Schemes that Celery also accepts as a broker.
BROKER_SCHEMES: Final = ("redis", "rediss", "unix", "redis+socket", SENTINEL)

#: Prefix of options for the sentinels, such as ``sentinel_password``.
_SENTINEL_OPTION: Final = "sentinel_"
_DEFAULT_PORTS: Final = {SENTINEL: 26379}
#: Timeouts of the sentinels, for which LiveCheck has its own values.
_BOUNDS: Final = ("socket_timeout", "socket_connect_timeout", "retry")
#: Separates two hosts; a password may contain a semicolon.
_NEXT_HOST: Final = re.compile(r";(?=[a-z+]+://)")


class Servers(NamedTuple):
    """The parts of a URL with several hosts.

    Attributes:
        hosts: host and port of each server.
        url: URL of one server for redis-py; login, database and options are valid, the host is a placeholder.
        master_name: Sentinel's name of the primary; empty if the URL has none.
        sentinel_url: URL of one sentinel for redis-py.
    """

    hosts: list[tuple[str, int]]
    url: str
    master_name: str
    sentinel_url: str


def scheme_of(url: str) -> str:
    """Return the part of ``url`` before ``://``."""
    return url.partition("://")[0]


def servers(url: str) -> Servers:
    """Parse a Sentinel or cluster URL.

    Raises:
        ValueError: ``url`` is malformed.
    """
    parts = [urlsplit(one) for one in _NEXT_HOST.split(url)]
    scheme = parts[0].scheme
    if any(part.scheme != scheme or not part.hostname or ";" in part.hostname or part.fragment for part in parts):
        raise ValueError("every host must have the scheme of the first one")
    hosts = [(str(part.hostname), part.port or _DEFAULT_PORTS.get(scheme, 6379)) for part in parts]
    query = {name: value for part in parts for name, value in parse_qsl(part.query)}
    tls = _is_true(query.pop("ssl", "")) or scheme.startswith("rediss")
    to_sentinel = {
        name.removeprefix(_SENTINEL_OPTION): query.pop(name)
        for name in list(query)
        if name.startswith(_SENTINEL_OPTION)
    }
    sentinel_tls = _is_true(to_sentinel.pop("ssl", ""))
    master_name = query.pop("master_name", "")
    path = next((part.path for part in parts if part.path.strip("/")), "/0")
    return Servers(hosts, _one(tls, _login(parts), path, query), master_name, _one(sentinel_tls, "", "", to_sentinel))


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1", "yes")


def _login(parts: list[SplitResult]) -> str:
    return next((part.netloc.rpartition("@")[0] + "@" for part in parts if "@" in part.netloc), "")


def _one(tls: bool, login: str, path: str, query: Mapping[str, str]) -> str:
    return f"redis{'s' * tls}://{login}localhost{path}?{urlencode(query)}"


def for_redis_py(url: str) -> str:
    """Translate kombu's spelling of a Redis URL to redis-py's."""
    if url.startswith("redis+socket:"):
        url = "unix:" + url.removeprefix("redis+socket:").replace("virtual_host=", "db=")
    for flag in ("required", "optional", "none"):
        url = url.replace(f"ssl_cert_reqs=CERT_{flag.upper()}", f"ssl_cert_reqs={flag}")
    return url


def from_broker(url: str, transport_options: Mapping[str, Any], use_ssl: Any) -> str:
    """Return the broker's ``url`` with the connection options that Celery takes from other settings.

    These are ``master_name`` and ``sentinel_kwargs`` of ``broker_transport_options``, and ``broker_use_ssl``; options
    in the URL have precedence.
    """
    options: dict[str, Any] = {}
    if scheme_of(url) == SENTINEL:
        options["master_name"] = transport_options.get("master_name")
        to_sentinel = transport_options.get("sentinel_kwargs") or {}
        options.update({_SENTINEL_OPTION + name: value for name, value in to_sentinel.items() if name not in _BOUNDS})
    if use_ssl:
        options.update(use_ssl if isinstance(use_ssl, Mapping) else {})
        if url.startswith("redis://"):
            url = "rediss" + url.removeprefix("redis")
        elif scheme_of(url) == SENTINEL:
            options["ssl"] = True
    said = {name for one in _NEXT_HOST.split(url) for name, _ in parse_qsl(urlsplit(one).query)}
    added = urlencode({name: _text(value) for name, value in options.items() if value is not None and name not in said})
    if not added:
        return url
    return url + ("&" if "?" in _NEXT_HOST.split(url)[-1] else "?") + added


def _text(value: Any) -> str:
    return value.name if isinstance(value, VerifyMode) else str(value)


def without_password(url: str) -> str:
    """Return ``url`` without users, passwords and query."""
    return ";".join(_shown(one) for one in _NEXT_HOST.split(url))


def _shown(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    place, _, query = rest.partition("?")
    # The end of a password with a question mark cannot be determined.
    return scheme + separator + ("..." if "@" in query else place.rpartition("@")[2])
