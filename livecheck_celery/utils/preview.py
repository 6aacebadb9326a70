"""Short texts of values for error messages, made without running code of the value's class.

A ``__repr__`` can query a database, raise, or be endless. So objects are shown by their plain attributes.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import re
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from livecheck_celery.utils.sanitize import sanitize

MASKED: Final = "***"

_SECRET: Final = re.compile(
    r"pass(word|wd|phrase|code)|^pwd$|secret|token|api_?key|private_?key|authorization|cookie|credential|session_?(id|key)"
    r"|^(cvv|cvc|pin|iban|ssn)$|card_?number|signature",
    re.IGNORECASE,
)
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
_MAX_TEXT: Final = 100
_MAX_ITEMS: Final = 6
_MAX_DEPTH: Final = 3
_MAX_INT_BITS: Final = 256


def is_secret(name: object) -> bool:
    """Return whether a variable, field or key of this name holds a secret."""
    return isinstance(name, str) and _SECRET.search(name) is not None


def preview(value: object, depth: int = _MAX_DEPTH) -> str:
    """Return a printable text of ``value`` of bounded length, on one line; values with secret names are masked."""
    if isinstance(value, str | bytes):
        return _text(value)
    if (simple := _simple(value)) is not None:
        return simple
    if depth <= 0:
        return f"<{type(value).__name__}>"
    if isinstance(value, dict | list | tuple | set | frozenset):
        return _container(value, depth)
    return _object(value, depth)


def _simple(value: Any) -> str | None:
    """Return the text of a number, an enumeration member or a simple value of the standard library."""
    kind = type(value)
    if value is None or kind in (bool, float):
        return repr(value)
    if kind is int:
        return repr(value) if value.bit_length() <= _MAX_INT_BITS else f"<int of {value.bit_length()} bits>"
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{object.__getattribute__(value, '_name_')}"
    if isinstance(value, _PRINTED_BY_TYPE) and kind.__module__.partition(".")[0] in _STANDARD:
        return sanitize(repr(value))[:_MAX_TEXT]
    return None


_STANDARD: Final = frozenset(kind.__module__.partition(".")[0] for kind in _PRINTED_BY_TYPE)


def _text(value: str | bytes) -> str:
    base: Any = str if isinstance(value, str) else bytes
    length = base.__len__(value)
    shown = base.__repr__(base.__getitem__(value, slice(_MAX_TEXT)))
    return sanitize(shown) + (f"… ({length} {'characters' if base is str else 'bytes'})" if length > _MAX_TEXT else "")


def _container(value: Any, depth: int) -> str:
    if isinstance(value, dict):
        first = islice(dict.items(value), _MAX_ITEMS)
        pairs = (f"{preview(key, 1)}: {_named(key, each, depth)}" for key, each in first)
        return _bracketed("{", pairs, dict.__len__(value), "}")
    base: type[Any] = next(each for each in (list, tuple, set, frozenset) if isinstance(value, each))
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
    name = value.__name__ if isinstance(value, type) else type(value).__name__
    if isinstance(value, BaseException):
        return f"{name}{_container(BaseException.args.__get__(value), depth)}"  # type: ignore[attr-defined] # a descriptor
    if isinstance(value, type):
        return f"<class {name}>"
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
