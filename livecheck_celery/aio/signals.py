"""Signals of the asyncio face."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from livecheck_celery.aio.runner import TestRunner
from livecheck_celery.cases.base_signal import T
from livecheck_celery.cases.redis_signal import RedisSignal
from livecheck_celery.execution.drivers import LoopDriver
from livecheck_celery.execution.runner import current_execution
from livecheck_celery.models import SignalEvent

P = ParamSpec("P")
R = TypeVar("R")


def _expected(
    wait: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Let a test that calls ``wait()`` of a signal, and does not await its end, be an ERROR."""

    @functools.wraps(wait)
    def call(signal: Any, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        waiting = wait(signal, *args, **kwargs)
        runner = current_execution()
        if isinstance(runner, TestRunner) and inspect.iscoroutine(waiting):
            runner.expect_await(waiting, signal)
        return waiting

    return call


class Signal(RedisSignal[T]):
    """As `livecheck_celery.Signal`; `wait` and `resolve` are coroutines."""

    is_awaited = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Expect each call of an own ``wait()`` to be awaited, too."""
        super().__init_subclass__(**options)
        if "wait" in vars(cls):
            cls.wait = _expected(vars(cls)["wait"])  # type: ignore[method-assign] # of the same type

    async def resolve(self, key: object, event: SignalEvent) -> None:
        """Store ``event`` for the test ``key``, and wake its waiters in all processes.

        Raises:
            InvalidPayload: the value of the event has no JSON form, or is not of the signal's type.
            RedisUnavailable: Redis did not answer.
        """
        await self.case.app.runtime.threads.call(self._resolve, key, event)

    @_expected
    async def wait(
        self,
        *,
        key: object = None,
        timeout: float | timedelta | str | None = None,  # noqa: ASYNC109 - the reference's
    ) -> T:
        """Wait for the signal and return its value.

        A test whose ``run()`` does not await it, or returns before a task that does, is an ERROR.

        Args:
            key: id of the receiving test, as for `send`; by default the test being executed. Signals of another test
                are available until two minutes after its verdict.
            timeout: seconds, or a duration such as ``"30s"``; at most, and by default, until the test expires.

        Raises:
            LiveCheckTestTimeout: the signal did not arrive in time.
            LiveCheckTestFailed: the value is not of type ``T``.
            RuntimeError: called outside ``run()``.
            ValueError: the timeout is negative, or not a duration.
        """
        return await self._wait(LoopDriver(self.case.app.runtime.threads), key, timeout)
