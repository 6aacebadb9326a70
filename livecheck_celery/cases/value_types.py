"""The type of a signal's values: the ``T`` of ``Signal[T]``, also of classes that inherit from one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args, get_origin

from typing_extensions import get_original_bases


def value_type_of(kind: Any, root: type) -> Any:
    """Return the type of the values of ``kind``, such as ``Signal[int]`` or a subclass of it; Any if it has none.

    Args:
        kind: a class that inherits from ``root``, or such a class with its arguments.
        root: the generic class whose argument is asked for.
    """
    return _of_class(kind, root) if type(kind) is type else _of(kind, root)


def _of(kind: Any, root: type) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is root:
        return args[0] if args else Any
    given = dict(zip(getattr(origin, "__parameters__", ()), args, strict=False))
    for base in get_original_bases(origin):
        if issubclass(get_origin(base) or base, root):
            parameters = getattr(base, "__parameters__", ()) if get_origin(base) else ()
            return value_type_of(base[tuple(given.get(each, Any) for each in parameters)] if parameters else base, root)
    return Any


#: Of classes alone: an equal type with arguments can be another one, as unions of types in another order.
_of_class = lru_cache(maxsize=64)(_of)
