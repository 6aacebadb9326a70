"""Attributes of a case that are read from Redis, or created for each case."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar, cast, overload

from livecheck_celery.cases.protocols import DeclaredCase
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.guard import GUARD
from livecheck_celery.store import Statistics

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class HasStatistics(Protocol):
    """A case whose statistics can be read."""

    name: str

    def statistics(self) -> Statistics:
        """Read the statistics of the suite from Redis."""


class SuiteAttribute(Generic[V]):
    """An attribute of the suite; on a case it is read from Redis, in one round trip, on the class it is the default."""

    def __init__(self, read: Callable[[Any, Statistics], V], default: V, doc: str) -> None:
        self._read = read
        self._default = default
        self.__doc__ = doc

    @overload
    def __get__(self, case: None, owner: type) -> V: ...
    @overload
    def __get__(self, case: HasStatistics, owner: type | None = None) -> V: ...
    def __get__(self, case: HasStatistics | None, owner: type | None = None) -> V | Self:
        if case is None:
            return copy.copy(self._default)
        return self._read(case, case.statistics())

    def __set__(self, case: HasStatistics, value: V) -> None:
        raise AttributeError(f"case {case.name}: the state of a suite is read-only; only verdicts change it")


class Undecorated:
    """Stands for the case, and for its LiveCheck, of a class that is not decorated: what is read of it is an error."""

    guard = GUARD

    def __init__(self, owner: type) -> None:
        self.name = owner.__qualname__
        self.app = self

    def __getattr__(self, name: str) -> Any:
        raise ConfigurationError(f"class {self.name} is not registered as a case; decorate it with @livecheck.case()")


class PerCase(Generic[V_co]):
    """An attribute that is created for each case when first read; a subclass can override it, and use super().

    On the class it can be called with a case, as a method of the class; else it is an object of an `Undecorated` case:
    type checkers take a decorated class for the class itself, and would otherwise reject ``test_order.trigger(...)``.
    """

    def __init__(self, make: Callable[[DeclaredCase], V_co]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def make(self, case: DeclaredCase) -> V_co:
        """Return the attribute of ``case``."""
        return self._make(case)

    def __get__(self, case: DeclaredCase | None, owner: type | None = None) -> V_co:
        if case is None:
            return cast("V_co", _OfClass(self, cast("type", owner)))
        made = self._make(case)
        if inspect.getattr_static(type(case), self._name) is self:  # else super() reads it
            case.__dict__[self._name] = made
        return made


class _OfClass:
    """A `PerCase` attribute that is read from a class."""

    def __init__(self, attribute: PerCase[Any], owner: type) -> None:
        self._attribute = attribute
        self._owner = owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and issubclass(type(args[0]), self._owner):
            return self._attribute.make(args[0])(*args[1:], **kwargs)
        return self._undecorated(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._undecorated, name)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._undecorated)

    @property
    def _undecorated(self) -> Any:
        return self._attribute.make(cast("DeclaredCase", Undecorated(self._owner)))
