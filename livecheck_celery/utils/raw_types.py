"""What a class stores, whatever its metaclass makes of it, and what an object poses as: no code of either is run."""

from __future__ import annotations

from typing import Any, Final

_MRO: Final[Any] = vars(type)["__mro__"]
_NAME: Final[Any] = vars(type)["__name__"]
_DICT: Final[Any] = vars(type)["__dict__"]


def mro_of(kind: type) -> tuple[type, ...]:
    """Return ``kind.__mro__``."""
    mro: tuple[type, ...] = _MRO.__get__(kind)
    return mro


def name_of(kind: type) -> str:
    """Return ``kind.__name__``."""
    name: str = _NAME.__get__(kind)
    return name


def defines(kind: type, *names: str) -> bool:
    """Return whether ``kind``, or a base of it other than ``object``, has an attribute of one of these names."""
    return any(_DICT.__get__(base).get(name) is not None for base in mro_of(kind)[:-1] for name in names)
