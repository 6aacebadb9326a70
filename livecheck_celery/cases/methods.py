"""The methods that a case overrides: LiveCheck calls them, so they have its arguments, and are not generators."""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import Any

from livecheck_celery.errors import ConfigurationError


def check_methods(cls: type, case_name: str, base: type) -> None:
    """Validate the methods of a case that LiveCheck calls; ``base`` is the class of all cases.

    Raises:
        ConfigurationError: a method has a ``yield``: calling it would execute nothing, and the test would pass; or a
            hook does not take the arguments with which LiveCheck calls it.
    """
    for name in dir(cls):
        if name in ("run", "make_fake_request", "post_report") or name.startswith("on_"):
            method = inspect.getattr_static(cls, name)
            if _is_generator_function(method):
                raise ConfigurationError(
                    f"case {case_name}: {name}() has a yield, so calling it would execute nothing; remove the yield"
                )
            if name != "run" and hasattr(base, name) and not _takes(method, arguments := _arguments(base, name)):
                raise ConfigurationError(
                    f"case {case_name}: {name}() is called as {name}({', '.join(arguments)}); declare it with these "
                    "arguments"
                )


def _arguments(base: type, name: str) -> list[str]:
    return list(inspect.signature(getattr(base, name)).parameters)[1:]


def _takes(method: Any, arguments: list[str]) -> bool:
    """Return whether ``method`` can be called with ``arguments``; True for an object whose arguments are unknown."""
    if not isinstance(method, FunctionType | staticmethod | classmethod):
        return True
    given = arguments if isinstance(method, staticmethod) else ["self", *arguments]
    try:
        function: Any = method if isinstance(method, FunctionType) else method.__func__
        # Not of what it decorates, since a decorator can add arguments.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*given)
    except TypeError:
        return False
    return True


def _is_generator_function(method: Any) -> bool:
    while isinstance(method, staticmethod | classmethod | functools.partial | functools.partialmethod):
        method = method.func if isinstance(method, functools.partial | functools.partialmethod) else method.__func__
    if not inspect.isroutine(method) and not isinstance(method, type):
        method = getattr(type(method), "__call__", method)  # noqa: B004 - a callable object in place of a method
    return inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
