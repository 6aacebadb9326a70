"""Properties that are made when first needed, once, however many threads ask at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, Self, TypeVar, overload

from livecheck_celery.utils.forks import renew_after_fork

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - a decorator
    """A property whose value is kept as an ordinary attribute, which no lock guards any longer.

    ``functools.cached_property`` makes several when threads race, since Python 3.12; before that, and in kombu's, its
    lock may be held for ever in a forked child.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__
        self.after_fork()
        renew_after_fork(self)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def after_fork(self) -> None:
        """A thread that held the lock is not there to release it."""
        self._making = RLock()

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> T | Self:
        if instance is None:
            return self
        with self._making:
            made = vars(instance)
            if self._name not in made:
                made[self._name] = self._make(instance)
            value: T = made[self._name]
            return value
