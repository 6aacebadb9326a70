"""Attributes of a case that are made each time they are looked at: what Redis says, and what acts for the case."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast, overload

from livecheck_celery.store import Statistics

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case

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


class PerCase(Generic[V]):
    """A helper made for the case on which it is first looked up.

    On the class it is one for no case: type checkers take a decorated class for the class it was, and would otherwise
    find fault with ``test_order.trigger(...)``.
    """

    def __init__(self, make: Callable[[Case], V]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, case: Case | None, owner: type[Case] | None = None) -> V:
        helper = self._make(cast("Case", case))
        if case is not None:
            vars(case)[self._name] = helper
        return helper
