"""The methods that a case overrides: LiveCheck executes them, so they must not be generators."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from livecheck_celery.errors import ConfigurationError


def check_methods(cls: type, case_name: str) -> None:
    """Validate the methods of a case that LiveCheck calls.

    Raises:
        ConfigurationError: a method has a ``yield``: calling it would execute nothing, and the test would pass.
    """
    for name in dir(cls):
        if name in ("run", "make_fake_request", "post_report") or name.startswith("on_"):
            method = inspect.getattr_static(cls, name)
            if _is_generator_function(method):
                raise ConfigurationError(
                    f"case {case_name}: {name}() has a yield, so calling it would execute nothing; remove the yield"
                )


def _is_generator_function(method: Any) -> bool:
    while isinstance(method, staticmethod | classmethod | functools.partial | functools.partialmethod):
        method = method.func if isinstance(method, functools.partial | functools.partialmethod) else method.__func__
    if not inspect.isroutine(method) and not isinstance(method, type):
        method = getattr(type(method), "__call__", method)  # noqa: B004 - a callable object in place of a method
    return inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
