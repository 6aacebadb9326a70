"""Tests of both faces, written once: as coroutines, which the sync face executes as ordinary methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from livecheck_celery.cases.base_case import OPTIONS
from livecheck_celery.execution.drivers import drive
from tests.helpers.faces import Face


def method(face: Face, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Return a coroutine function as a method of ``face``; it uses `done` for what is awaited in the asyncio face."""
    if face.is_async:
        return function

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return drive(function(*args, **kwargs))

    del call.__wrapped__  # type: ignore[attr-defined] # set by wraps()
    return call


async def done(result: Any) -> Any:
    """Return ``result``; in the asyncio face, what awaiting it gives."""
    return await result if inspect.isawaitable(result) else result


def declare(livecheck: Any, face: Face, name: str = "shop.test_order", **body: Any) -> Any:
    """Declare a case of ``face`` with the signals ``sent`` and ``done``.

    Coroutine functions of ``body`` become methods; what is an option of cases is given as one.
    """
    options = {key: body.pop(key) for key in list(body) if key in OPTIONS}
    made = {key: method(face, each) if inspect.iscoroutinefunction(each) else each for key, each in body.items()}
    signals = {"sent": face.Signal[int], "done": face.Signal[str]}
    return livecheck.add_case(
        type("test_order", (face.Case,), {**made, "__annotations__": signals}), name=name, **options
    )
