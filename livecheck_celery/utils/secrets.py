"""Mask secrets in values by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "********"
# Whole words for the short ones, so that "pin" does not match "shipping".
_SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|credential|authorization|cookie|(api|access|private|session|secret|auth)[-_. ]?key"
    r"|(?<![a-z])(pwd|pin|otp|cvv|cvc|ssn|csrf|jwt)(?![a-z])",
    re.IGNORECASE,
)


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
