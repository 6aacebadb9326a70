"""URLs of a Celery broker: one server, or several for failover."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from livecheck_celery.utils.redis_options import OF_BROKER_URLS
from livecheck_celery.utils.redis_urls import SENTINEL, SOCKET, scheme_of
from livecheck_celery.utils.secrets import Secret, each_server

_DEFAULT_PORTS: Final = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671, "sentinel": 26379}
_SAME_SCHEME: Final = {"pyamqp": "amqp", "librabbitmq": "amqp", "": "amqp"}
#: Options that kombu takes for a connection from any URL.
_OF_CONNECTIONS: Final = frozenset({"connect_timeout", "heartbeat", "insist", "login_method", "ssl"})
_LOCAL: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})


def joined(value: Any) -> str:
    """Return the broker setting ``value``, text or a list of URLs, as one text: URLs separated by semicolons."""
    if isinstance(value, list | tuple):
        return Secret(";".join(str(url).strip().replace(";", "%3B") for url in value))
    return Secret(str(value).strip())


def failover_urls(url: str) -> list[str]:
    """Return the URLs to try one after the other; the sentinels of one primary are one URL."""
    return [url] if scheme_of(url) == SENTINEL else [Secret(one.strip()) for one in url.split(";") if one.strip()]


def check_broker_url(url: str, transport_options: Mapping[str, Any]) -> None:
    """Check that Celery can use each Redis, Sentinel or AMQP URL in ``url``.

    Raises:
        ValueError: a URL is malformed, or an option is for ``broker_transport_options``; the message is one line,
            without values.
    """
    for one in failover_urls(url):
        scheme, first = scheme_of(one), each_server(one)[0]
        if scheme in {*_SAME_SCHEME, *_DEFAULT_PORTS, *SOCKET} or "://" not in one:
            for server in each_server(one):
                _check_form(server)
        if scheme in ("redis", "rediss", SENTINEL) and "@" not in (query := first.partition("?")[2]):
            for name, _ in parse_qsl(query):
                if name not in OF_BROKER_URLS | _OF_CONNECTIONS:
                    raise ValueError(
                        f"broker_url: Celery does not support the option {name!r:.60} in a URL; "
                        "set it in broker_transport_options"
                    )
        if scheme == SENTINEL and not transport_options.get("master_name"):
            raise ValueError("broker_url: Celery needs master_name in broker_transport_options for sentinel://")


def _check_form(url: str) -> None:
    """Check that the login of ``url`` has a clear end: errors of other libraries would quote parts of the password."""
    try:
        parts = urlsplit(url)
        is_clear = (parts.port is None or parts.port > 0) and ("@" in parts.netloc or "@" not in url)
        is_clear = is_clear and (parts.scheme not in SOCKET or len(parts.path) > 1)
    except ValueError:
        is_clear = False
    if not is_clear:
        raise ValueError("broker_url is not a URL; special characters in a password must be percent-encoded")


def same_broker(one: str, other: str) -> bool:
    """Return whether two broker settings name a common server, regardless of logins and options."""
    return bool(_places(one) & _places(other))


def _places(url: str) -> set[tuple[str, str, int | None, str]]:
    return {_place(each) for part in each_server(url) for each in failover_urls(part)}


def _place(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        scheme = _SAME_SCHEME.get(parts.scheme, parts.scheme)
        host = "localhost" if (parts.hostname or "") in _LOCAL else parts.hostname or ""
        path = unquote(parts.path).strip("/")
        if scheme in ("redis", "rediss", SENTINEL):
            path = path or "0"
        return scheme, host, parts.port or _DEFAULT_PORTS.get(scheme), path
    except ValueError:
        return "", url, None, ""
