"""Convert values to JSON without running code of the application.

pydantic consumes iterators, and asks objects for their class, which evaluates a lazy one. So values are checked first,
by their types alone: an iterator, a query, a file or a lazy object is refused, and stays as the program has it.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from re import Pattern
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from livecheck_celery.utils.compat import as_json_type
from livecheck_celery.utils.sanitize import encodable

#: Deepest nesting, which is less than pydantic's.
_MAX_DEPTH: Final = 150
#: Digits of an integer that every process can read; Python's default for ``sys.set_int_max_str_digits``.
_MAX_DIGITS: Final = 4300
_BITS_PER_DIGIT: Final = math.log2(10)
_SMALL: Final = 2**63

_PLAIN: Final = frozenset({str, bool, type(None)})
_LEAVES: Final = (
    *(str, bytes, bytearray, complex, date, time, timedelta, Decimal, UUID, PurePath, Pattern),
    *(IPv4Address, IPv4Network, IPv6Address, IPv6Network),
)
# The methods of the base classes, since those of a subclass can do anything.
_SEQUENCES: Final[dict[type, Callable[[Any], Iterable[Any]]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    deque: deque.__iter__,
}
_CONSUMED: Final = frozenset({"__next__", "__anext__", "__await__"})
_EVALUATED: Final = frozenset({"__iter__", "__aiter__"})
#: Attributes of slots and of C types, which only read what is stored.
_STORED: Final = (MemberDescriptorType, GetSetDescriptorType)
_MISSING: Final = object()


class NotStrictJson(ValueError):
    """A value has no JSON form that can be made without running code of the application."""


def encode(value: Any, limit: int) -> bytes:
    """Convert ``value`` to JSON; nan and the infinities become ``NaN``, ``Infinity`` and ``-Infinity``.

    Half of a surrogate pair, as in a file name that is not UTF-8, becomes the text of its escape.

    Args:
        value: any object.
        limit: as for `check`.

    Raises:
        NotStrictJson: as `check`.
        ValueError: a part of ``value`` is of a type without a JSON form.
    """
    return to_json(as_json_types(value, limit), inf_nan_mode="constants")


def as_json_types(value: Any, limit: int) -> Any:
    """Convert ``value`` to the types of JSON; arguments and errors as for `encode`."""
    check(value, limit)
    return escaped(to_jsonable_python(escaped(value), inf_nan_mode="constants", fallback=as_json_type))


def escaped(value: Any) -> Any:
    """Return ``value`` with the texts in it, of plain dicts, lists and tuples, in a form that UTF-8 can encode."""
    kind = type(value)
    if issubclass(kind, str):
        return encodable(str.__str__(value))
    if kind is dict:
        return {escaped(key): escaped(each) for key, each in value.items()}
    return kind(map(escaped, value)) if kind in (list, tuple) else value


def check(value: Any, limit: int) -> int:
    """Check that converting ``value`` to JSON runs no code of the application; return the number of nan and infinities.

    Other types than those of JSON are left to pydantic, which refuses the types that it does not know.

    Args:
        value: any object.
        limit: maximum number of parts of ``value``, each of which takes at least a byte as JSON.

    Raises:
        NotStrictJson: a part of ``value`` is an iterator, a lazy object, or another one that would be evaluated; or
            ``value`` is nested too deep, has too many parts, or an integer with more digits than JSON readers accept.
    """
    if type(value) in _PLAIN:
        return 0
    walk = _Walk(limit)
    walk.check(value, 0)
    return walk.not_finite


class _Walk:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts = 0
        self.not_finite = 0

    def check(self, value: Any, depth: int) -> None:
        self._parts += 1
        kind = type(value)  # not isinstance(), which asks a lazy object for the class of what it stands for
        if kind in _PLAIN:
            return
        if self._parts > self._limit:
            raise NotStrictJson(f"it has more than {self._limit} parts (livecheck_max_payload)")
        if depth > _MAX_DEPTH:
            raise NotStrictJson("it is nested too deep, or contains itself")
        if issubclass(kind, int):
            _check_digits(value)
        elif issubclass(kind, float):
            self.not_finite += not math.isfinite(value)
        elif not issubclass(kind, _LEAVES):
            for part in _parts(value, kind):
                self.check(part, depth + 1)


def _parts(value: Any, kind: type) -> Iterable[Any]:
    if issubclass(kind, dict):
        return [*dict.keys(value), *dict.values(value)]
    for base, iterate in _SEQUENCES.items():
        if issubclass(kind, base):
            return iterate(value)
    if issubclass(kind, Enum):
        return [vars(value)["_value_"]]
    if issubclass(kind, BaseModel):
        return [*vars(value).values(), value.__pydantic_extra__]
    if dataclasses.is_dataclass(kind):
        return [_stored(value, kind, field.name) for field in dataclasses.fields(kind)]
    _check_unknown(kind)
    return ()


def _check_digits(number: int) -> None:
    if -_SMALL < number < _SMALL:
        return
    digits = min(_MAX_DIGITS, sys.get_int_max_str_digits() or _MAX_DIGITS)
    if number.bit_length() > digits * _BITS_PER_DIGIT:
        raise NotStrictJson(f"it has an integer of more than {digits} digits; send that as text")


def _check_unknown(kind: type) -> None:
    """Refuse the objects that pydantic would consume or evaluate to find out their types."""
    if any(_is_hook(name, found) for base in kind.__mro__[:-1] for name, found in vars(base).items()):
        raise NotStrictJson(f"a {_name(kind)} is lazy, and would be evaluated; send the value that it stands for")
    if _defines(kind, _CONSUMED):
        raise NotStrictJson(f"a {_name(kind)} would be consumed; send a list, or the value that it yields")
    if _defines(kind, _EVALUATED) and not hasattr(kind, "__get_pydantic_core_schema__"):
        raise NotStrictJson(f"a {_name(kind)} would be evaluated; send a list")


def _is_hook(name: str, found: Any) -> bool:
    """Return whether an attribute of a class runs when another attribute, such as ``__class__``, is read."""
    return name == "__class__" or (name in ("__getattr__", "__getattribute__") and isinstance(found, FunctionType))


def _defines(kind: type, names: Iterable[str]) -> bool:
    return any(vars(base).get(name) is not None for base in kind.__mro__ for name in names)


def _stored(instance: Any, kind: type, name: str) -> Any:
    """Return the stored value of a field, unless reading it runs code, as a property or a lazy column does."""
    found = inspect.getattr_static(instance, name, _MISSING)
    if isinstance(found, _STORED):
        return found.__get__(instance, kind)
    if hasattr(type(found), "__set__"):
        found = _MISSING if isinstance(found, property) else instance.__dict__.get(name, _MISSING)
    if found is _MISSING:
        raise NotStrictJson(f"{_name(kind)}.{name} is computed when it is read; send its value")
    return found


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
