"""Signals of the asyncio face."""

from __future__ import annotations

from datetime import timedelta

from livecheck_celery.cases.base_signal import T
from livecheck_celery.cases.redis_signal import RedisSignal
from livecheck_celery.execution.drivers import LoopDriver
from livecheck_celery.models import SignalEvent


class Signal(RedisSignal[T]):
    """As `livecheck_celery.Signal`; `wait` and `resolve` are coroutines."""

    async def resolve(self, key: object, event: SignalEvent) -> None:
        """Store ``event`` for the test ``key``, and wake its waiters in all processes.

        Raises:
            InvalidPayload: the value of the event has no JSON form, or is not of the signal's type.
            RedisUnavailable: Redis did not answer.
        """
        await self.case.app.runtime.threads.call(self._resolve, key, event)

    async def wait(
        self,
        *,
        key: object = None,
        timeout: float | timedelta | str | None = None,  # noqa: ASYNC109 - the reference's
    ) -> T:
        """Wait for the signal and return its value.

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
