"""Short texts of values for error messages, made without running code of the value's class.

A ``__repr__`` can query a database, raise, or be endless. So objects are shown by their plain attributes.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, cast

from livecheck_celery.utils.raw_types import name_of
from livecheck_celery.utils.sanitize import sanitize
from livecheck_celery.utils.secrets import is_secret, without_url_secrets

MASKED: Final = "***"

_PRINTED_BY_TYPE: Final = (
    dt.date,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
    range,
    complex,
)
_CONTAINERS: Final = (dict, list, tuple, set, frozenset)
_MAX_TEXT: Final = 100
#: Characters of a text in which URLs are looked for, so that none is cut in its password.
_MAX_MASKED: Final = 1_000
_MAX_ITEMS: Final = 6
_MAX_DEPTH: Final = 3
_MAX_INT_BITS: Final = 256


def preview(value: object, depth: int = _MAX_DEPTH) -> str:
    """Return a printable text of ``value`` of bounded length, on one line; values with secret names are masked."""
    kind = type(value)  # not isinstance(), which asks a lazy object for the class of what it stands for
    if issubclass(kind, str | bytes):
        return _text(value)
    if (simple := _simple(value)) is not None:
        return simple
    if depth <= 0:
        return f"<{name_of(kind)}>"
    if issubclass(kind, _CONTAINERS):
        return _container(value, depth)
    return _object(value, depth)


def _simple(value: Any) -> str | None:
    """Return the text of a number, an enumeration member or a simple value of the standard library."""
    kind = type(value)
    if value is None or kind in (bool, float):
        return repr(value)
    if kind is int:
        return repr(value) if value.bit_length() <= _MAX_INT_BITS else f"<int of {value.bit_length()} bits>"
    if issubclass(kind, enum.Enum):
        return f"{name_of(kind)}.{object.__getattribute__(value, '_name_')}"
    if issubclass(kind, _PRINTED_BY_TYPE) and kind.__module__.partition(".")[0] in _STANDARD:
        return sanitize(repr(value))[:_MAX_TEXT]
    return None


_STANDARD: Final = frozenset(kind.__module__.partition(".")[0] for kind in _PRINTED_BY_TYPE)


def _text(value: Any) -> str:
    base: Any = str if issubclass(type(value), str) else bytes
    length, start = base.__len__(value), base.__getitem__(value, slice(_MAX_MASKED))
    if base is str:
        shown = without_url_secrets(start)[:_MAX_TEXT]
        return sanitize(repr(shown)) + (f"… ({length} characters)" if length > _MAX_TEXT else "")
    masked = without_url_secrets(start.decode("latin-1")).encode("latin-1")[:_MAX_TEXT]
    return sanitize(repr(masked)) + (f"… ({length} bytes)" if length > _MAX_TEXT else "")


def _container(value: Any, depth: int) -> str:
    kind = type(value)
    if issubclass(kind, dict):
        first = islice(dict.items(value), _MAX_ITEMS)
        pairs = (f"{preview(key, 1)}: {_named(key, each, depth)}" for key, each in first)
        return _bracketed("{", pairs, dict.__len__(value), "}")
    base: type[Any] = next(each for each in (list, tuple, set, frozenset) if issubclass(kind, each))
    items = (preview(each, depth - 1) for each in islice(base.__iter__(value), _MAX_ITEMS))
    size = base.__len__(value)
    if base is list:
        return _bracketed("[", items, size, "]")
    if base is tuple:
        return _bracketed("(", items, size, ",)" if size == 1 else ")")
    return _bracketed(
        f"{base.__name__}({{" if base is frozenset else "{", items, size, "})" if base is frozenset else "}"
    )


def _object(value: object, depth: int) -> str:
    kind = type(value)
    name = name_of(kind)
    if issubclass(kind, BaseException):
        return f"{name}{_container(BaseException.args.__get__(value), depth)}"  # type: ignore[attr-defined] # a descriptor
    if issubclass(kind, type):
        return f"<class {name_of(cast('type', value))}>"
    try:
        fields = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return f"<{name}>"
    public = {key: each for key, each in dict.items(fields) if isinstance(key, str) and not key.startswith("_")}
    if not public:
        return f"<{name}>"
    pairs = (f"{key}={_named(key, each, depth)}" for key, each in islice(public.items(), _MAX_ITEMS))
    return _bracketed(f"{name}(", pairs, len(public), ")")


def _named(name: object, value: object, depth: int) -> str:
    return MASKED if is_secret(name) else preview(value, depth - 1)


def _bracketed(opening: str, shown: Iterable[str], size: int, closing: str) -> str:
    more = [f"… {size - _MAX_ITEMS} more"] if size > _MAX_ITEMS else []
    return opening + ", ".join([*shown, *more]) + closing
