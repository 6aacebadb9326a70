"""Convert values of any type to JSON and back, by pydantic."""

from __future__ import annotations

from typing import Any, Final, NotRequired, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from typing_extensions import TypedDict, is_typeddict

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.utils import strict_json
from livecheck_celery.utils.compat import with_base64_bytes
from livecheck_celery.utils.sanitize import message_of

_JSON: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


def adapter_of(value_type: Any) -> TypeAdapter[Any]:
    """Return the adapter that converts values of ``value_type`` to JSON and back.

    Raises:
        PydanticUserError: pydantic does not support the type.
    """
    if is_typeddict(value_type):
        return TypeAdapter(_as_extension(value_type))
    try:
        return with_base64_bytes(TypeAdapter(value_type, config=_JSON))
    except PydanticUserError as exc:
        if exc.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(value_type)  # a model or a dataclass has its own configuration


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
        raise InvalidPayload(f"arguments of a test must be JSON: {message_of(exc)}") from exc


def encode(adapter: TypeAdapter[Any], value: Any, limit: int) -> bytes:
    """Convert ``value`` to JSON by ``adapter``; see `livecheck_celery.utils.strict_json.encode`."""
    not_finite = strict_json.check(value, limit)
    if not not_finite:
        return adapter.serializer.to_json(value, warnings=False)
    plain = adapter.serializer.to_python(value, mode="json", warnings=False)
    if strict_json.check(plain, limit) < not_finite:  # a model or a dataclass of another configuration
        raise ValueError("nan and infinity have no JSON form in its type; send them as text or None")
    return strict_json.encode(plain, limit)


def _as_extension(typed_dict: Any) -> Any:
    """Convert a ``typing.TypedDict`` to the one of ``typing_extensions``, which pydantic needs before Python 3.12."""
    fields = {
        name: hint if name in typed_dict.__required_keys__ else NotRequired[hint]
        for name, hint in get_type_hints(typed_dict).items()
    }
    return TypedDict(typed_dict.__name__, fields)  # type: ignore[operator] # made at run time
