"""Adapters that convert values of a type to JSON and back, by pydantic."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NotRequired, get_origin, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from typing_extensions import TypedDict, is_typeddict

from livecheck_celery.utils.compat import with_base64_bytes

#: Configuration of the values of signals.
SIGNAL_VALUES: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


#: Types whose adapters are shared: an equal type can have another adapter, as unions of types in another order.
_SHARED: Final = (str, int, float, bool, bytes, dict, list, Any)


def adapter_of(value_type: Any, config: ConfigDict | None = SIGNAL_VALUES) -> TypeAdapter[Any]:
    """Return the adapter that converts values of ``value_type`` to JSON and back; ``config`` None is pydantic's own.

    Raises:
        PydanticUserError: pydantic does not support the type.
    """
    if config is SIGNAL_VALUES and any(value_type is each for each in _SHARED):
        return _shared_adapter(value_type)
    return _new_adapter(value_type, config)


@cache
def _shared_adapter(value_type: Any) -> TypeAdapter[Any]:
    return _new_adapter(value_type, SIGNAL_VALUES)


def _new_adapter(value_type: Any, config: ConfigDict | None) -> TypeAdapter[Any]:
    if is_typeddict(value_type):
        return TypeAdapter(_as_extension(value_type))
    if config is None:
        return TypeAdapter(value_type)
    try:
        return with_base64_bytes(TypeAdapter(value_type, config=config))
    except PydanticUserError as exc:
        if exc.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(value_type)  # a model or a dataclass has its own configuration


def name_of_type(value_type: Any) -> str:
    """Return the name of a type, for errors: ``Order``, ``list[int]``."""
    name: str | None = getattr(value_type, "__name__", None) if get_origin(value_type) is None else None
    return name or str(value_type)


def _as_extension(typed_dict: Any) -> Any:
    """Convert a ``typing.TypedDict`` to the one of ``typing_extensions``, which pydantic needs before Python 3.12."""
    fields = {
        name: hint if name in typed_dict.__required_keys__ else NotRequired[hint]
        for name, hint in get_type_hints(typed_dict).items()
    }
    return TypedDict(typed_dict.__name__, fields)  # type: ignore[operator] # made at run time
