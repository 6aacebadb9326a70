"""Signals of the asyncio face."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from livecheck_celery.aio.runner import TestRunner
from livecheck_celery.cases.base_signal import T
from livecheck_celery.cases.redis_signal import RedisSignal
from livecheck_celery.execution.drivers import LoopDriver
from livecheck_celery.execution.runner import current_execution
from livecheck_celery.models import SignalEvent


class Signal(RedisSignal[T]):
    """As `livecheck_celery.Signal`; `wait` and `resolve` are coroutines."""

    is_awaited = True

    async def resolve(self, key: object, event: SignalEvent) -> None:
        """Store ``event`` for the test ``key``, and wake its waiters in all processes.

        Raises:
            InvalidPayload: the value of the event has no JSON form, or is not of the signal's type.
            RedisUnavailable: Redis did not answer.
        """
        await self.case.app.runtime.threads.call(self._resolve, key, event)

    def wait(self, *, key: object = None, timeout: float | timedelta | str | None = None) -> Coroutine[Any, Any, T]:
        """Wait for the signal and return its value.

        A test whose ``run()`` does not await it is an ERROR.

        Args:
            key: id of the receiving test, as for `send`; by default the test being executed. Signals of another test
                are available until two minutes after its verdict.
            timeout: seconds, or a duration such as ``"30s"``; at most, and by default, until the test expires.

        Raises:
            LiveCheckTestTimeout: the signal did not arrive in time.
            LiveCheckTestFailed: the value is not of type ``T``.
            RuntimeError: awaited outside ``run()``.
            ValueError: the timeout is negative, or not a duration.
        """
        waiting = self._wait(LoopDriver(self.case.app.runtime.threads), key, timeout)
        runner = current_execution()
        if isinstance(runner, TestRunner):
            unawaited = f"{self.described}: wait() was never awaited; write: await self.{self.name}.wait()"
            runner.expect_await(waiting, unawaited)
        return waiting
