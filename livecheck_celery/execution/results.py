"""What ``run()`` and hooks return: code that must still be executed, or a value, which decides nothing.

Only the type of a result is looked at, since a lazy object is evaluated when it is asked for its class.
"""

from __future__ import annotations

import contextlib
import inspect
from collections import deque
from concurrent.futures import Future
from itertools import islice
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, NamedTuple

from livecheck_celery.utils.raw_types import defines, mro_of, name_of

#: Maximum number of items of lists and tuples that are looked at.
_MAX_PARTS: Final = 1_000
_CONTAINERS: Final = (list, tuple, set, frozenset)
_GENERATORS: Final = (
    *(GeneratorType, AsyncGeneratorType),
    # What a function with a ``yield`` returns under `contextlib.contextmanager`; the classes are not public.
    *(contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager),  # noqa: SLF001 - above
)


def is_awaitable(value: Any) -> bool:
    """Return whether ``value`` is code that ``await`` executes; not for a lazy object, which can stand for anything."""
    kind = type(value)
    if kind is GeneratorType:
        return bool(value.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    # A proxy of any object has __await__, too; only a proxy of coroutines has the methods of a coroutine.
    return defines(kind, "__await__") and (not _is_proxy(kind) or defines(kind, "send"))


class Raised(NamedTuple):
    """The exception of a coroutine, as a value."""

    error: BaseException


async def outcome_of(value: Any) -> Any:
    """Return ``value``, or what awaiting it gives, until that is not awaitable; `Raised` for an exception.

    For a task of its own: asyncio ends the loop when a task raises SystemExit; and a GeneratorExit of what user code
    awaits closes all coroutines of its task.
    """
    try:
        while is_awaitable(value):
            value = await value
    except BaseException as exc:  # noqa: BLE001 - re-raised by result()
        return Raised(exc)
    return value


def result(outcome: Any) -> Any:
    """Return what `outcome_of` has returned; raise the exception that it stands for."""
    if type(outcome) is Raised:  # not isinstance(), which evaluates a lazy object
        raise outcome.error
    return outcome


def refuse_awaitable(name: str, returned: Any) -> None:
    """Check that the method ``name`` of a case of the sync face has not ``returned`` an awaitable.

    Raises:
        TypeError: it has; a coroutine is closed, so that Python does not warn of it, too.
    """
    if not is_awaitable(returned):
        return
    if type(returned) is CoroutineType:
        returned.close()
    raise TypeError(
        f"{name} returned an awaitable, which nothing executes; cases that await are those of livecheck_celery.aio"
    )


def is_generator(value: Any) -> bool:
    """Return whether ``value`` is what a function with a ``yield`` returns."""
    return type(value) in _GENERATORS


def unexecuted(result: Any) -> str | None:
    """Return what kind of unexecuted code ``result`` of a method is, such as a generator; None if it is none."""
    left: deque[tuple[Any, str]] = deque([(result, "")])
    for _ in range(_MAX_PARTS):
        if not left:
            break
        value, where = left.popleft()
        if kind := _kind_of(value):
            return kind + where
        if type(value) in _CONTAINERS:
            inside = f" in a {type(value).__name__}{where}"
            left.extend((each, inside) for each in islice(value, _MAX_PARTS))
    return None


def _kind_of(value: Any) -> str | None:
    kind = type(value)
    if is_awaitable(value):
        return "an awaitable"
    if Future in mro_of(kind):
        return "a future"
    if is_generator(value):
        return "a generator"
    if defines(kind, "__next__", "__anext__") and not _is_proxy(kind):
        return f"an iterator ({name_of(kind)})"
    return None


def _is_proxy(kind: type) -> bool:
    """Return whether objects of ``kind`` pose as others: lazy objects, mocks."""
    return defines(kind, "__class__")
