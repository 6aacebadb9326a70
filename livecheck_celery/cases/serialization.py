"""Values of any type as JSON and back: pydantic, with two things evened out."""

from __future__ import annotations

from typing import Any, Final, NotRequired, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from typing_extensions import TypedDict, is_typeddict

_JSON: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


def adapter_of(value_type: Any) -> TypeAdapter[Any]:
    """What turns values of ``value_type`` into JSON and back.

    Raises:
        PydanticUserError: pydantic knows no way.
    """
    if is_typeddict(value_type):
        return TypeAdapter(_as_extension(value_type))
    try:
        return TypeAdapter(value_type, config=_JSON)
    except PydanticUserError as exc:
        if exc.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(value_type)  # a model or a dataclass has its own configuration


def _as_extension(typed_dict: Any) -> Any:
    """``typing.TypedDict`` as ``typing_extensions`` has it: before Python 3.12, pydantic takes only that."""
    fields = {
        name: hint if name in typed_dict.__required_keys__ else NotRequired[hint]
        for name, hint in get_type_hints(typed_dict).items()
    }
    return TypedDict(typed_dict.__name__, fields)  # type: ignore[operator]
