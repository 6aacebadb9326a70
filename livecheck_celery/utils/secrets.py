"""Mask secrets: in values by their names, in texts those of URLs; and print URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "********"
# Whole words for the short ones, so that "pin" does not match "shipping".
_SECRET: Final = re.compile(
    r"passw|passphrase|passcode|secret|token|credential|authorization|cookie|card[-_. ]?number|session[-_. ]?id"
    r"|(api|access|private|session|secret|auth)[-_. ]?key"
    r"|(?<![a-z])(pwd|pin|otp|cvv|cvc|ssn|csrf|jwt|iban)(?![a-z])",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(r"(?<=://)[^\s/?#'\"<>]+@")
#: What can be one URL, or several. `_SERVER` is searched only where a scheme can begin, so that it takes linear time.
_UNBROKEN: Final = re.compile(r"[^\s'\"<>]+")
_SERVER: Final = re.compile(r"(?<![\w+.-])(?![\d_+.-]*https?:)[\w+.-]++://(?=.)", re.IGNORECASE | re.DOTALL)
#: Separates two servers in one setting; a password may contain a semicolon.
_NEXT_SERVER: Final = re.compile(r";(?=[a-zA-Z+]+://)")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
#: Host and port; a port that is no number is a part of a password.
_HOST: Final = re.compile(r"(\[[\w:.%]*\]|[^\s:\[\]]*)(:\d{0,5})?")
_PARAMETER: Final = re.compile(r"(?<=[?&;])([\w.%-]+)=([^\s&;#'\"<>)]+)")


class Secret(str):
    """A text that `repr` does not show, so neither do settings nor tracebacks with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def each_server(url: str) -> list[str]:
    """Return the URL of each server in ``url``, which can name several, with ``;`` between them."""
    return [Secret(one) for one in _NEXT_SERVER.split(url)]


def printed_url(url: str, *, path: bool = True) -> str:
    """Return ``url``, or several with ``;`` between them, without login, query and fragment.

    A URL whose password has no clear end is ``scheme://...``.

    Args:
        url: URL of a server, a broker or a service.
        path: whether the path is printed; that of a ping is a secret.
    """
    return ";".join(_printed(one, path) for one in each_server(url))


def _printed(url: str, path: bool) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    elif not _SCHEME.fullmatch(scheme):
        return "..."
    place, _, query = rest.partition("?")
    if scheme.lower() in ("http", "https"):
        authority, slash, after = place.partition("#")[0].partition("/")
        host = authority.rpartition("@")[2]
        after = "..." if "@" in after else after
    else:
        host, slash, after = place.rpartition("@")[2].partition("#")[0].partition("/")
        host = ":" if "@" in query else host
    if not _HOST.fullmatch(host) or host == ":":
        return f"{scheme}{separator}..."
    return f"{scheme}{separator}{host}" + (slash + after if path else "")


def without_frames(error: BaseException) -> BaseException:
    """Return ``error`` and its causes without frames: those of other libraries have variables with passwords."""
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [each for each in (one.__cause__, one.__context__) if each is not None]
    return error


def is_secret(name: object) -> bool:
    """Return whether a field, an attribute or a key of this name is a secret, such as ``password`` or ``api_key``."""
    return isinstance(name, str) and _SECRET.search(name) is not None


def masked(value: Any) -> Any:
    """Return ``value``, which consists of JSON types, with the values of secrets replaced, at any depth."""
    if isinstance(value, Mapping):
        return {key: MASK if is_secret(key) and item is not None else masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value


def without_url_secrets(text: str) -> str:
    """Return ``text`` with the user and the password of each URL, and its parameters that are secrets, replaced."""
    if "://" in text:
        text = _LOGIN.sub(f"{MASK}@", _UNBROKEN.sub(_without_server_login, text))
    return _PARAMETER.sub(_masked_parameter, text)


def _without_server_login(found: re.Match[str]) -> str:
    """Mask as `_LOGIN`, for servers: with a special character in the password, but not in the path."""
    text = found[0]
    end = text.rfind("@")
    server = _SERVER.search(text, 0, end) if end > 0 else None
    return f"{text[: server.end()]}{MASK}{text[end:]}" if server else text


def _masked_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if is_secret(found[1]) else found[0]
