"""Replacement of methods of HTTP clients, so that their requests carry the current test."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, Final, TypeVar
from weakref import WeakSet

from livecheck_celery.context import current_test, synthetic_case
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.utils.sanitize import get_logger

T = TypeVar("T")

logger: Final = get_logger(__name__)

_lock: Final = Lock()
#: Undone replacements, which a later replacement by another library may still call.
_undone: Final[WeakSet[Callable[..., Any]]] = WeakSet()


class Instrumentation:
    """The methods that one call of ``instrument`` replaced.

    Args:
        gate: builds the headers, until `undo`.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate
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
        self._gate = None
        with _lock:
            for owner, name, replacement in self._replaced:
                _undone.add(replacement)
                while (top := vars(owner)[name]) in _undone:
                    setattr(owner, name, top.__wrapped__)  # set by functools.wraps

    def apply(self, add: Callable[[Gate], T | None]) -> T | None:
        """Return ``add(gate)``, or None if the request must be sent unchanged.

        Outside a test this costs two context variable look-ups. An error in ``add`` is logged, never raised.
        """
        gate = self._gate
        if gate is None or (current_test() is None and synthetic_case() is None):
            return None
        try:
            return add(gate)
        except Exception:
            logger.debug("instrument: failed to add headers to a request; sending it without them", exc_info=True)
            return None
