"""Options in the query of a Redis URL: redis-py's, kombu's, and those that LiveCheck decides itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from ssl import VerifyFlags
from typing import Any, Final

from livecheck_celery.utils.secrets import Secret

_TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0"})


def boolean(text: str) -> bool:
    """Convert ``true``, ``yes``, ``on``, ``1`` and their opposites.

    Raises:
        ValueError: ``text`` is none of them.
    """
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text.lower() in _TRUE


def _whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least}")
        return int(text)

    return convert


def _cert_reqs(text: str) -> str:
    value = text.lower().removeprefix("cert_")
    if value not in ("required", "optional", "none"):
        raise ValueError("required, optional or none")
    return value


def _verify_flags(text: str) -> list[VerifyFlags]:
    try:
        return [VerifyFlags[name.strip()] for name in text.strip("[]").split(",")]
    except KeyError:
        raise ValueError("names of ssl.VerifyFlags, separated by commas") from None


_TLS: Final[dict[str, Callable[[str], Any]]] = {
    "ssl_ca_certs": str,
    "ssl_ca_data": str,
    "ssl_ca_path": str,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_certfile": str,
    "ssl_check_hostname": boolean,
    "ssl_ciphers": str,
    "ssl_exclude_verify_flags": _verify_flags,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_keyfile": str,
    "ssl_min_version": _whole(0),
    "ssl_password": Secret,
    "ssl_validate_ocsp": boolean,
    "ssl_validate_ocsp_stapled": boolean,
}
_HONOURED: Final[dict[str, Callable[[str], Any]]] = {
    **_TLS,
    "client_name": str,
    "credential_provider": str,
    "db": _whole(0),
    "health_check_interval": _whole(0),
    "max_connections": _whole(1),
    "password": Secret,
    "socket_keepalive": boolean,
    "socket_read_size": _whole(1),
    "username": str,
}
#: redis-py's, for which LiveCheck has its own values: every wait has a limit, and every reply is text.
_OVERRULED: Final = frozenset(
    [
        "auto_close_connection_pool",
        "cache",
        "cache_config",
        "connection_class",
        "decode_responses",
        "driver_info",
        "encoding",
        "encoding_errors",
        "event_dispatcher",
        "legacy_responses",
        "lib_name",
        "lib_version",
        "maint_notifications_config",
        "parser_class",
        "protocol",
        "queue_class",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_connect_timeout",
        "socket_keepalive_options",
        "socket_timeout",
        "socket_type",
        "timeout",
    ]
)
#: kombu's, which are about messages.
_BROKERS: Final = frozenset(
    [
        "ack_emulation",
        "fanout_patterns",
        "fanout_prefix",
        "global_keyprefix",
        "min_priority",
        "max_priority",
        "polling_interval",
        "priority_steps",
        "queue_order_strategy",
        "sep",
        "unacked_index_key",
        "unacked_key",
        "unacked_mutex_expire",
        "unacked_mutex_key",
        "unacked_restore_interval",
        "unacked_restore_limit",
        "unacked_restore_throttle",
        "virtual_host",
        "visibility_timeout",
    ]
)
#: Options that kombu understands in the URL of a broker.
OF_BROKER_URLS: Final = frozenset({*_TLS, "credential_provider"})


def known_options() -> frozenset[str]:
    """Return the names of all options that a URL can have."""
    return _OVERRULED | _BROKERS | _HONOURED.keys()


def converted(options: Iterable[tuple[str, str]], *, tls: bool, prefix: str = "") -> dict[str, Any]:
    """Convert ``options`` to arguments of redis-py, without those that LiveCheck decides or that are kombu's.

    Args:
        options: names and values.
        tls: whether the connection is encrypted, so that ``ssl_`` options apply.
        prefix: prefix of the names in the URL, for errors.

    Raises:
        ValueError: an option is unknown, or its value is invalid; the message has no value.
    """
    found: dict[str, Any] = {}
    for name, text in options:
        convert = _HONOURED.get(name)
        if convert is None:
            if name not in _OVERRULED | _BROKERS:
                raise ValueError(_unknown(prefix + name, [prefix + known for known in sorted(known_options())]))
        elif name in _TLS and not tls:
            raise ValueError(f"option {prefix + name!r} requires TLS; begin the URL with rediss://")
        elif text:
            try:
                found[name] = convert(text)
            except ValueError as exc:
                raise ValueError(f"option {prefix + name!r} must be {exc}") from None
    return found


def _unknown(name: str, known: Iterable[str]) -> str:
    if not re.fullmatch(r"\w{1,40}", name, re.ASCII):  # can be a part of a password with a question mark
        return "the query has an unknown option; percent-encode special characters in passwords"
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown option {name!r}" + (f"; did you mean {similar[0]!r}?" if similar else "")
