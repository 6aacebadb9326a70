"""Methods of HTTP clients, replaced by ones that carry what is current, until that is undone."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, Final, TypeVar
from weakref import WeakSet

from livecheck_celery.context import current_test_var, synthetic_case_var
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.utils.sanitize import get_logger

T = TypeVar("T")

logger: Final = get_logger(__name__)

_lock: Final = Lock()
#: Replacements that do nothing any more, but may still be called by somebody else's that was put on top.
_undone: Final[WeakSet[Callable[..., Any]]] = WeakSet()


class Instrumentation:
    """What one call of ``instrument`` has replaced, and what it adds to requests until it is undone."""

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate
        self._replaced: list[tuple[type, str, Callable[..., Any]]] = []

    def replace(self, owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put what ``make`` makes of method ``name`` of ``owner`` in its place.

        Raises:
            ConfigurationError: ``owner`` defines no such method.
        """
        with _lock:
            if name not in vars(owner):
                where = f"{owner.__module__}.{owner.__qualname__}"
                raise ConfigurationError(f"instrument: {where} has no {name}(): this version is not supported")
            # Called as an attribute of the class: what others have put there may be no function, but bind as one does.
            replacement = wraps(vars(owner)[name])(make(getattr(owner, name)))
            setattr(owner, name, replacement)
            self._replaced.append((owner, name, replacement))

    def undo(self) -> None:
        """Put everything back; what others have put on top meanwhile stays, and calls what was there before."""
        self._gate = None
        with _lock:
            for owner, name, replacement in self._replaced:
                _undone.add(replacement)
                while (top := vars(owner)[name]) in _undone:
                    setattr(owner, name, top.__wrapped__)  # what `wraps` has noted

    def apply(self, add: Callable[[Gate], T | None]) -> T | None:
        """What ``add`` makes of a request that is to carry something; None when it is to be sent as it is.

        Outside a test this costs two look-ups of a context variable. An error stays here: it is not the caller's.
        """
        gate = self._gate
        if gate is None or (current_test_var.get() is None and synthetic_case_var.get() is None):
            return None
        try:
            return add(gate)
        except Exception:
            logger.debug("a request goes without its test", exc_info=True)
            return None
