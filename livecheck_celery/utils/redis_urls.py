"""What the URL of a Redis says: which server or servers, and what it takes to connect.

Beside redis-py's own URLs there are kombu's for Sentinel, ``sentinel://host:26379;sentinel://host2:26379/0``, and ours
for a cluster, ``redis+cluster://host:6379;redis+cluster://host2:6379``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ssl import VerifyMode
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

SENTINEL: Final = "sentinel"
CLUSTER: Final = ("redis+cluster", "rediss+cluster")
#: What Celery, too, can have for a broker.
BROKER_SCHEMES: Final = ("redis", "rediss", "unix", "redis+socket", SENTINEL)

#: What comes after this goes to the sentinels: ``sentinel_password``.
_TO_SENTINEL: Final = "sentinel_"
_DEFAULT_PORTS: Final = {SENTINEL: 26379}
#: Of how long a sentinel may take; LiveCheck has its own.
_BOUNDS: Final = ("socket_timeout", "socket_connect_timeout", "retry")
#: Between two hosts; a password may have a semicolon in it.
_NEXT_HOST: Final = re.compile(r";(?=[a-z+]+://)")


class Servers(NamedTuple):
    """What a URL with several hosts says.

    Attributes:
        hosts: host and port of each.
        url: for redis-py, of one server: the login, the database and the options are right, the host may not be.
        master_name: what the sentinels call the Redis; empty when the URL does not say.
        sentinel_url: for redis-py, of one sentinel.
    """

    hosts: list[tuple[str, int]]
    url: str
    master_name: str
    sentinel_url: str


def scheme_of(url: str) -> str:
    """What comes before ``://``."""
    return url.partition("://")[0]


def servers(url: str) -> Servers:
    """Read a URL of Sentinel or of a cluster.

    Raises:
        ValueError: it is not one.
    """
    parts = [urlsplit(one) for one in _NEXT_HOST.split(url)]
    scheme = parts[0].scheme
    if any(part.scheme != scheme or not part.hostname or ";" in part.hostname or part.fragment for part in parts):
        raise ValueError("not every host is written as the first one")
    hosts = [(str(part.hostname), part.port or _DEFAULT_PORTS.get(scheme, 6379)) for part in parts]
    query = {name: value for part in parts for name, value in parse_qsl(part.query)}
    tls = _is_true(query.pop("ssl", "")) or scheme.startswith("rediss")
    to_sentinel = {
        name.removeprefix(_TO_SENTINEL): query.pop(name) for name in list(query) if name.startswith(_TO_SENTINEL)
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
    """``url`` in redis-py's words where kombu, whose URL it may be, has its own."""
    if url.startswith("redis+socket:"):
        url = "unix:" + url.removeprefix("redis+socket:").replace("virtual_host=", "db=")
    for flag in ("required", "optional", "none"):
        url = url.replace(f"ssl_cert_reqs=CERT_{flag.upper()}", f"ssl_cert_reqs={flag}")
    return url


def of_broker(url: str, transport_options: Mapping[str, Any], use_ssl: Any) -> str:
    """The broker's ``url``, with what Celery is told elsewhere of how to connect.

    That is ``master_name`` and ``sentinel_kwargs`` of ``broker_transport_options``, and ``broker_use_ssl``, unless the
    URL says it.
    """
    options: dict[str, Any] = {}
    if scheme_of(url) == SENTINEL:
        options["master_name"] = transport_options.get("master_name")
        to_sentinel = transport_options.get("sentinel_kwargs") or {}
        options.update({_TO_SENTINEL + name: value for name, value in to_sentinel.items() if name not in _BOUNDS})
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
    """``url`` without what must not be shown: users, passwords and queries."""
    return ";".join(_shown(one) for one in _NEXT_HOST.split(url))


def _shown(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    place, _, query = rest.partition("?")
    # A password with a question mark in it: there is no telling where it ends.
    return scheme + separator + ("..." if "@" in query else place.rpartition("@")[2])
