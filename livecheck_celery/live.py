"""Attributes of a case that are read from Redis each time they are looked at."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

from livecheck_celery.store import Statistics

if TYPE_CHECKING:
    from livecheck_celery.case import Case

V = TypeVar("V")


class Live(Generic[V]):
    """On a case the shared value, in one round trip; on the class the value of a case that has never run."""

    def __init__(self, read: Callable[[Case, Statistics], V], default: V, doc: str) -> None:
        self._read = read
        self._default = default
        self.__doc__ = doc

    @overload
    def __get__(self, case: None, owner: type[Case]) -> V: ...
    @overload
    def __get__(self, case: Case, owner: type[Case] | None = None) -> V: ...
    def __get__(self, case: Case | None, owner: type[Case] | None = None) -> V | Self:
        if case is None:
            return copy.copy(self._default)
        return self._read(case, case.statistics())

    def __set__(self, case: Case, value: V) -> None:
        raise AttributeError(f"case {case.name}: the state of a suite is kept in Redis and changed by verdicts only")
