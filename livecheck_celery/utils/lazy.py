"""A thread-safe cached property."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, Self, TypeVar, overload

from livecheck_celery.utils.forks import renew_after_fork

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - a decorator
    """Compute a property once, however many threads read it, and store it as an ordinary attribute.

    ``functools.cached_property`` computes a property more than once if threads race, since Python 3.12; before that,
    and in kombu, a forked child can inherit a held lock.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__
        self.after_fork()
        renew_after_fork(self)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def after_fork(self) -> None:
        """Replace the lock: the thread that held it does not exist in the child."""
        self._lock = RLock()

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> T | Self:
        if instance is None:
            return self
        with self._lock:
            # No local variable: a traceback that shows it would show the settings of a LiveCheck.
            if self._name not in instance.__dict__:
                instance.__dict__[self._name] = self._make(instance)
            value: T = instance.__dict__[self._name]
            return value
