"""Convert values of any type to JSON and back, by pydantic."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.utils import strict_json
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.signal_handlers import reraise_from_handler


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
