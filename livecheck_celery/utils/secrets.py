"""Mask secrets: in values by their names, in texts those of URLs."""

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
_PARAMETER: Final = re.compile(r"(?<=[?&;])([\w.%-]+)=([^\s&;#'\"<>)]+)")


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
    return _PARAMETER.sub(_masked_parameter, _LOGIN.sub(f"{MASK}@", text))


def _masked_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if is_secret(found[1]) else found[0]
