"""Replacement of methods of other libraries, which can be reverted in any order."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, Final
from weakref import WeakSet

from livecheck_celery.errors import ConfigurationError

_lock: Final = Lock()
#: Undone replacements, which a later replacement by another library may still call.
_undone: Final[WeakSet[Callable[..., Any]]] = WeakSet()


class Replacements:
    """Replaced methods, restored together by `undo`."""

    def __init__(self) -> None:
        self._replaced: list[tuple[type, str, Callable[..., Any]]] = []

    def replace(self, owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace method ``name`` of ``owner`` by ``make(method)``.

        Raises:
            ConfigurationError: ``owner`` does not define the method.
        """
        with _lock:
            if name not in vars(owner):
                where = f"{owner.__module__}.{owner.__qualname__}"
                raise ConfigurationError(f"instrument: {where} has no {name}(); this version is not supported")
            # getattr, not vars: another library may have put a descriptor there that is not a function.
            replacement = wraps(vars(owner)[name])(make(getattr(owner, name)))
            setattr(owner, name, replacement)
            self._replaced.append((owner, name, replacement))

    def undo(self) -> None:
        """Restore the methods; a later replacement by another library stays, and calls the original method."""
        with _lock:
            for owner, name, replacement in self._replaced:
                _undone.add(replacement)
                while (top := vars(owner)[name]) in _undone:
                    setattr(owner, name, top.__wrapped__)  # set by functools.wraps
