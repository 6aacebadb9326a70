"""Exceptions whose attributes cannot be read, and what stands in for them in logs and reports."""

from __future__ import annotations

import operator
from typing import Any, Final

from livecheck_celery.errors import LiveCheckTestFailed, LiveCheckTestSkipped, LiveCheckTestTimeout
from livecheck_celery.utils.raw_types import mro_of, name_of

#: Groups that are nested deeper are left as they are.
_MAX_DEPTH: Final = 100
#: Attributes that loggers, tracebacks and error trackers read.
_READ: Final = ("__dict__", "__traceback__", "__cause__", "__context__", "__suppress_context__", "args")
#: The classes that decide a verdict, and the bases of all others.
_BASES: Final = (
    *(LiveCheckTestSkipped, LiveCheckTestFailed, LiveCheckTestTimeout),
    *(AssertionError, SystemExit, Exception, BaseException),
)
# What is stored, whatever a class makes of it.
_ARGS: Final[Any] = vars(BaseException)["args"]
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]
_EXCEPTIONS: Final[Any] = vars(BaseExceptionGroup)["exceptions"]


def readable(error: BaseException) -> BaseException:
    """Return ``error``; if reading its attributes raises, an exception with its name, arguments, base and traceback.

    A group that holds such exceptions becomes a group of what stands in for them.
    """
    return _readable(error, 0)


def _readable(error: BaseException, depth: int) -> BaseException:
    if not issubclass(type(error), BaseExceptionGroup) or depth == _MAX_DEPTH:
        return error if _can_be_read(error) else _stand_in(error)
    found = _EXCEPTIONS.__get__(error)
    members = [_readable(each, depth + 1) for each in found]
    if _can_be_read(error) and all(map(operator.is_, found, members)):
        return error
    return BaseExceptionGroup("", members).with_traceback(_TRACEBACK.__get__(error))


def _can_be_read(error: BaseException) -> bool:
    kind = type(error)
    try:
        for name in _READ:
            getattr(error, name)
        return issubclass(error.__class__, BaseException) and bool(f"{kind.__module__}.{kind.__qualname__}")
    except BaseException:  # noqa: BLE001 - of the application's class, which can raise anything
        return False


def _stand_in(error: BaseException) -> BaseException:
    kind = type(error)
    base = next(each for each in mro_of(kind) if each in _BASES)
    new: BaseException = type(name_of(kind), (base,), {"__module__": "unreadable"})(*_ARGS.__get__(error))
    return new.with_traceback(_TRACEBACK.__get__(error))
