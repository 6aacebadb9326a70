"""Both faces of LiveCheck, for tests of what they have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from celery import Celery

import livecheck_celery
from livecheck_celery import aio
from livecheck_celery.cases.arguments import build
from tests.helpers.http_server import KEY


class Face(NamedTuple):
    """One face: its classes, and how its methods are written and called."""

    name: str
    LiveCheck: Any
    Case: Any
    Signal: Any

    @property
    def is_async(self) -> bool:
        """Whether methods are coroutines."""
        return self.name == "aio"

    def livecheck(self, url: str, kind: Any = None, **options: Any) -> Any:
        """Return a LiveCheck of the face, of class ``kind``, on a host's app whose broker is at ``url``."""
        app = Celery("shop", broker=url, set_as_current=False)
        return (kind or self.LiveCheck)(app, secret_key=KEY, **options)

    def method(self, function: Callable[..., Any]) -> Any:
        """Return a function that is not asynchronous as a method of the face."""
        if not self.is_async:
            return function

        @functools.wraps(function)
        async def method(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        if not hasattr(function, "__wrapped__"):  # as if it were declared with ``async def``
            vars(method)["__signature__"] = inspect.signature(function)
        return method

    def call(self, livecheck: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the face, and wait for its result."""
        result = function(*args, **kwargs)
        return livecheck.runtime.event_loop.finish(result, "a test") if self.is_async else result


SYNC: Final = Face("sync", livecheck_celery.LiveCheck, livecheck_celery.Case, livecheck_celery.Signal)
AIO: Final = Face("aio", aio.LiveCheck, aio.Case, aio.Signal)
FACES: Final = [SYNC, AIO]


def execute(case: Any, *args: Any, id: str = "o-1", **kwargs: Any) -> Any:
    """Execute a new test of ``case``, of either face, with these arguments; return its runner."""
    return case.execute_here(build(case, id, args, kwargs))
