"""The methods that a case overrides: LiveCheck calls them, as its face does, and with its arguments."""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import Any, Final

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.annotations import signature_of

#: Methods that a case can override, besides hooks.
_METHODS: Final = frozenset({"run", "make_fake_request", "post_report", "execute", "resolve_signal"})
#: Methods whose arguments are those of the test, or of the reference.
_ANY_ARGUMENTS: Final = frozenset({"run", "execute", "resolve_signal"})


def check_methods(cls: type, case_name: str, base: type) -> None:
    """Validate the methods of a case that LiveCheck calls; ``base`` is the class of all cases of its face.

    Raises:
        ConfigurationError: a method has a ``yield``: calling it would execute nothing, and the test would pass; it is a
            method of the other face; or a hook does not take the arguments with which LiveCheck calls it.
    """
    own = (one for one in cls.__mro__ if not issubclass(base, one))
    for name in sorted({name for one in own for name in vars(one)}):
        if name in _METHODS or name.startswith("on_"):
            check_method(f"case {case_name}", name, inspect.getattr_static(cls, name), base)


def check_method(owner: str, name: str, method: Any, base: type) -> None:
    """Validate a method of ``owner``, which overrides that of ``base`` if there is one.

    Raises:
        ConfigurationError: as for `check_methods`.
    """
    if _is_generator_function(method):
        raise ConfigurationError(
            f"{owner}: {name}() has a yield, so calling it would execute nothing; remove the yield"
        )
    if hasattr(base, name):
        _check_face(owner, name, method, base)
        _check_arguments(owner, name, method, base)


def _check_face(owner: str, name: str, method: Any, base: type) -> None:
    """Check that ``method`` is a coroutine function if that of ``base`` is one, as far as its code says."""
    if inspect.iscoroutinefunction(getattr(base, name)):
        if _is_plain(name, method):
            raise ConfigurationError(
                f"{owner}: {name}() must be async def in a case of livecheck_celery.aio; cases with def are "
                "those of livecheck_celery"
            )
    elif any(map(inspect.iscoroutinefunction, _layers(method))):
        raise ConfigurationError(
            f"{owner}: {name}() is async def, which this face does not await; cases with async def are those "
            "of livecheck_celery.aio"
        )


def _check_arguments(owner: str, name: str, method: Any, base: type) -> None:
    if name in _ANY_ARGUMENTS:
        return
    arguments = list(inspect.signature(getattr(base, name)).parameters)[1:]
    if not _takes(method, arguments):
        raise ConfigurationError(
            f"{owner}: {name}() is called as {name}({', '.join(arguments)}); declare it with these arguments"
        )


def _takes(method: Any, arguments: list[str]) -> bool:
    """Return whether ``method`` can be called with ``arguments``; True for an object whose arguments are unknown."""
    if not isinstance(method, FunctionType | staticmethod | classmethod):
        return True
    given = arguments if isinstance(method, staticmethod) else ["self", *arguments]
    try:
        function: Any = method if isinstance(method, FunctionType) else method.__func__
        # Not of what it decorates, since a decorator can add arguments.
        signature = signature_of(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*given)
    except TypeError:
        return False
    return True


def _is_plain(name: str, method: Any) -> bool:
    """Return whether ``method`` is written as ``def name()``; what a decorator makes of a method shows when it runs."""
    function = _unwrapped(method)
    return (
        isinstance(function, FunctionType)
        and function.__code__.co_name == name
        and not hasattr(function, "__wrapped__")
        and not any(map(inspect.iscoroutinefunction, _layers(method)))
    )


def _is_generator_function(method: Any) -> bool:
    function = _layers(method)[-1]
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _layers(method: Any) -> list[Any]:
    """Return the function of a method, and what is called when that is a callable object."""
    function = _unwrapped(method)
    if inspect.isroutine(function) or isinstance(function, type):
        return [function]
    return [function, getattr(type(function), "__call__", function)]  # noqa: B004 - in place of a method


def _unwrapped(method: Any) -> Any:
    while isinstance(method, staticmethod | classmethod | functools.partial | functools.partialmethod):
        method = method.func if isinstance(method, functools.partial | functools.partialmethod) else method.__func__
    return method
