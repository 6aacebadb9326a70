"""Convert values of any type to JSON and back, by pydantic."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import to_json

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.utils import strict_json
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.signal_handlers import reraise_from_handler

_LARGE: Final = 2**63


def as_json(value: Any, limit: int) -> Any:
    """Convert ``value`` to JSON types; dataclasses, models, dates, decimals and UUIDs become their JSON forms.

    Args:
        value: arguments of a test.
        limit: maximum number of parts.

    Raises:
        InvalidPayload: a part of ``value`` has no JSON form, or would be consumed or evaluated.
    """
    try:
        return strict_json.as_json_types(value, limit)
    except Exception as exc:  # unknown types, cycles, and objects that raise when read
        reraise_from_handler(exc)
        raise InvalidPayload(f"arguments of a test must be JSON: {message_of(exc)}") from exc


def plain_json(value: Any) -> str | None:
    """Return the JSON of ASCII text, a small integer, a bool or None; None for other values, which need a serializer.

    Most signals have such a value, and requests wait for its conversion.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring(value) if value.isascii() else None
    if kind is int:
        return str(value) if -_LARGE < value < _LARGE else None
    if kind is bool:
        return "true" if value else "false"
    return "null" if value is None else None


def encode(adapter: TypeAdapter[Any], value: Any, limit: int) -> bytes:
    """Convert ``value`` to JSON by ``adapter``; see `livecheck_celery.utils.strict_json.encode`."""
    if not strict_json.check(value, limit):
        try:
            # Not the adapter's to_json(), whose errors do not have those of an application's serializer as their cause.
            return to_json(adapter.serializer.to_python(value, mode="json", warnings=False))
        except ValueError as exc:  # of pydantic, or a UnicodeEncodeError
            if "surrogates not allowed" not in message_of(exc):
                raise
    plain = adapter.serializer.to_python(strict_json.escaped(value), mode="json", warnings=False)
    return strict_json.encode(plain, limit)
