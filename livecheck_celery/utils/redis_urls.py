"""Redis URLs: redis-py's, kombu's for sockets and Sentinel, and LiveCheck's for a cluster.

The URL of Sentinel is ``sentinel://host:26379;sentinel://host2:26379/0``, that of a cluster is
``redis+cluster://host:6379;redis+cluster://host2:6379``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ssl import VerifyMode
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from livecheck_celery.utils.redis_options import OF_BROKER_URLS, boolean, converted
from livecheck_celery.utils.secrets import Secret, each_server

SENTINEL: Final = "sentinel"
CLUSTER: Final = ("redis+cluster", "rediss+cluster")
SOCKET: Final = ("unix", "redis+socket")
#: Schemes that Celery also accepts as a broker.
BROKER_SCHEMES: Final = ("redis", "rediss", *SOCKET, SENTINEL)

#: Prefix of options for the sentinels, such as ``sentinel_password``.
_SENTINEL_OPTION: Final = "sentinel_"
_DEFAULT_PORTS: Final = {SENTINEL: 26379}
#: Timeouts of the sentinels, for which LiveCheck has its own values.
_BOUNDS: Final = ("socket_timeout", "socket_connect_timeout", "retry")

_ENCODED: Final = "(special characters in a password must be percent-encoded)"
_WANTED: Final = {
    "redis": f"a Redis URL such as redis://:password@localhost:6379/0 {_ENCODED}",
    **dict.fromkeys(CLUSTER, f"a cluster's URL such as redis+cluster://:password@localhost:6379 {_ENCODED}"),
    SENTINEL: (
        "a URL such as sentinel://:password@host:26379;sentinel://host2:26379/0?master_name=mymaster "
        f"{_ENCODED}; the broker's may have its master_name in broker_transport_options"
    ),
}


class RedisUrl(NamedTuple):
    """A parsed URL.

    Attributes:
        scheme: in lower case.
        hosts: host and port of each server; empty for a socket.
        path: path of the socket; empty without one.
        tls: whether connections to Redis are encrypted.
        options: other arguments of redis-py: login, database, and options of the query.
        master_name: Sentinel's name of the primary; empty if the URL has none.
        sentinel_tls: whether connections to the sentinels are encrypted.
        sentinel_options: arguments of redis-py for the sentinels.
    """

    scheme: str
    hosts: Sequence[tuple[str, int]]
    path: str
    tls: bool
    options: Mapping[str, Any]
    master_name: str = ""
    sentinel_tls: bool = False
    sentinel_options: Mapping[str, Any] = {}


class _Malformed(Exception):
    """A URL does not have the form of its scheme."""


def scheme_of(url: str) -> str:
    """Return the part of ``url`` before ``://``, in lower case."""
    return url.partition("://")[0].lower()


def parse(url: str) -> RedisUrl:
    """Parse the URL of one Redis server, Sentinel or a cluster.

    Raises:
        ValueError: ``url`` is malformed, or has an unknown option; the message is one line, and has no password.
    """
    scheme = scheme_of(url)
    try:
        return _parse(url, scheme)
    except _Malformed:
        raise ValueError(f"redis_url is not {_WANTED.get(scheme, _WANTED['redis'])}") from None


def _parse(url: str, scheme: str) -> RedisUrl:
    if scheme not in (*BROKER_SCHEMES, *CLUSTER):
        raise _Malformed
    parts = [_split(one, scheme) for one in each_server(url)]
    if len(parts) > 1 and scheme not in (SENTINEL, *CLUSTER):
        raise ValueError(
            "redis_url names several servers, but the state is in one; name one, or use sentinel:// or redis+cluster://"
        )
    query = {name: value for part in reversed(parts) for name, value in reversed(_query(part.query))}
    try:
        return _with_options(parts, scheme, query)
    except ValueError as exc:
        if any("@" in part.query for part in parts):  # the query can be a part of a password
            raise _Malformed from None
        raise ValueError(f"redis_url: {exc}") from None


def _query(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
    except ValueError:
        raise _Malformed from None


def _split(url: str, scheme: str) -> SplitResult:
    try:
        part = urlsplit(url)
        is_valid = part.scheme == scheme and not part.fragment and ";" not in (part.hostname or "") and part.port != 0
    except ValueError:
        raise _Malformed from None
    # A slash in a password ends the host.
    if not is_valid or ("@" in part.path and scheme not in SOCKET):
        raise _Malformed
    return part


def _with_options(parts: Sequence[SplitResult], scheme: str, query: dict[str, str]) -> RedisUrl:
    tls = scheme.startswith("rediss")
    master_name, sentinel_tls, sentinel_options = "", False, {}
    if scheme == SENTINEL:
        tls = boolean(query.pop("ssl", "false"))
        master_name = query.pop("master_name", "")
        names = [name for name in query if name.startswith(_SENTINEL_OPTION)]
        to_sentinel = {name.removeprefix(_SENTINEL_OPTION): query.pop(name) for name in names}
        sentinel_tls = boolean(to_sentinel.pop("ssl", "false"))
        sentinel_options = converted(to_sentinel.items(), tls=sentinel_tls, prefix=_SENTINEL_OPTION)
        if not master_name:
            raise _Malformed
    path = ""
    if scheme in SOCKET:
        path = unquote(parts[0].path)
        if "virtual_host" in query:
            query.setdefault("db", query["virtual_host"])
        if not path.strip("/"):
            raise _Malformed
    options = {**_login(parts), **converted(query.items(), tls=tls)}
    if scheme not in SOCKET:
        options = {**_database(parts), **options}
    if scheme in CLUSTER and options.pop("db", 0):
        raise _Malformed
    if "credential_provider" in options:  # as in kombu, it replaces the login
        options = {name: value for name, value in options.items() if name not in ("username", "password")}
    hosts = [] if path else [_host(part, scheme) for part in parts]
    return RedisUrl(scheme, hosts, path, tls, options, master_name, sentinel_tls, sentinel_options)


def _host(part: SplitResult, scheme: str) -> tuple[str, int]:
    host = unquote(part.hostname or "")
    if not host:
        if scheme not in ("redis", "rediss"):
            raise _Malformed
        host = "localhost"
    return host, part.port or _DEFAULT_PORTS.get(scheme, 6379)


def _login(parts: Sequence[SplitResult]) -> dict[str, str]:
    with_login = next((part for part in parts if "@" in part.netloc), None)
    if with_login is None:
        return {}
    login = {"username": unquote(with_login.username or ""), "password": Secret(unquote(with_login.password or ""))}
    return {name: value for name, value in login.items() if value}


def _database(parts: Sequence[SplitResult]) -> dict[str, int]:
    database = next(filter(None, (unquote(part.path).strip("/") for part in parts)), "0")
    if not re.fullmatch(r"\d{1,9}", database, re.ASCII):
        raise ValueError(f"the database {database!r:.40} is not a number; end the URL with a number, such as /0")
    return {"db": int(database)}


def from_broker(url: str, transport_options: Mapping[str, Any], use_ssl: Any) -> str:
    """Return the broker's ``url`` with the connection options that Celery takes from other settings.

    These are ``master_name`` and ``sentinel_kwargs`` of ``broker_transport_options``, and ``broker_use_ssl``; options
    in the URL have precedence.
    """
    options: dict[str, Any] = {}
    said = {name for one in each_server(url) for name, _ in parse_qsl(urlsplit(one).query)}
    if scheme_of(url) == SENTINEL:
        options["master_name"] = transport_options.get("master_name")
        to_sentinel = transport_options.get("sentinel_kwargs") or {}
        options.update({_SENTINEL_OPTION + name: value for name, value in to_sentinel.items() if name not in _BOUNDS})
    if use_ssl or any(name.startswith("ssl_") for name in said):  # kombu encrypts for either
        options.update(use_ssl if isinstance(use_ssl, Mapping) else {})
        if scheme_of(url) == "redis":
            url = "rediss" + url[len("redis") :]
        elif scheme_of(url) == SENTINEL:
            options["ssl"] = True
    added = urlencode({name: _text(value) for name, value in options.items() if value is not None and name not in said})
    if not added:
        return url
    return url + ("&" if "?" in each_server(url)[-1] else "?") + added


def _text(value: Any) -> str:
    return value.name if isinstance(value, VerifyMode) else str(value)


def for_broker(url: str) -> str:
    """Return ``url``, that of the state, as the URL of a Celery broker: without options that kombu does not know."""
    if scheme_of(url) in CLUSTER:
        return url
    if scheme_of(url) == SENTINEL:
        return ";".join(one.partition("?")[0] for one in each_server(url))
    part = urlsplit(url)
    given = dict(parse_qsl(part.query))
    query = {name: value for name, value in given.items() if name in OF_BROKER_URLS}
    if part.scheme in SOCKET:
        database = given.get("db", given.get("virtual_host"))
        query |= {"virtual_host": database} if database else {}
        return f"redis+socket://{part.netloc}{part.path}" + (f"?{urlencode(query)}" if query else "")
    path = f"/{given['db']}" if "db" in given else part.path
    return part._replace(path=path, query=urlencode(query)).geturl()
