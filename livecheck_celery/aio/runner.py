"""The runner of the asyncio face."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

from livecheck_celery.errors import LiveCheckTestSkipped, LiveCheckTestTimeout
from livecheck_celery.execution.drivers import LoopDriver
from livecheck_celery.execution.places import in_brackets, raised_at
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.models import State

#: Seconds after its deadline in which a coroutine can still raise its own timeout, which names the signal.
_GRACE: Final = 0.5


class TestRunner(BaseRunner):
    """One execution of a case, on the running event loop.

    As `livecheck_celery.TestRunner`; its hooks and `skip` are coroutines, except `end`, as in the reference.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits: list[tuple[Coroutine[Any, Any, Any], str]] = []

    async def execute(self) -> State:
        """Claim the execution, run it, record the verdict, call the hooks.

        Returns:
            PASS; INIT if another worker has or had the execution, or if this process is stopping and handed it back.

        Raises:
            TestOutcome: any other verdict, as `Case.execute` raises it.
            CancelledError: the task was cancelled, which is the verdict ERROR.
            RedisUnavailable: Redis did not answer for a minute; recovery takes over the execution.
        """
        return await self._execute(LoopDriver(self._process.threads))

    async def on_start(self) -> None:
        """Call ``on_test_start`` of the case, before ``run()``."""
        await super().on_start()

    async def on_signal_wait(self, signal: Any, timeout: float | None) -> None:  # noqa: ASYNC109 - the reference's
        """Log at once, with ``realtime_logs``, that the test waits for ``signal``."""
        super().on_signal_wait(signal, timeout)

    async def on_signal_received(self, signal: Any, time_start: float, time_end: float) -> None:
        """Log that ``signal`` was received; the times are monotonic seconds."""
        super().on_signal_received(signal, time_start, time_end)

    async def on_skipped(self, exc: LiveCheckTestSkipped) -> None:
        """Call ``on_test_skipped`` of the case."""
        await super().on_skipped(exc)

    async def on_failed(self, exc: BaseException) -> None:
        """Call ``on_test_failed`` of the case."""
        await super().on_failed(exc)

    async def on_error(self, exc: BaseException) -> None:
        """Call ``on_test_error`` of the case."""
        await super().on_error(exc)

    async def on_timeout(self, exc: BaseException) -> None:
        """Call ``on_test_timeout`` of the case."""
        await super().on_timeout(exc)

    async def on_pass(self) -> None:
        """Call ``on_test_pass`` of the case."""
        await super().on_pass()

    async def skip(self, reason: str) -> NoReturn:
        """End the test as SKIP, with this reason; await it in ``run()``.

        Raises:
            LiveCheckTestSkipped: always; it leaves ``run()``.
        """
        raise LiveCheckTestSkipped(reason)

    def expect_await(self, coroutine: Coroutine[Any, Any, Any], otherwise: str) -> None:
        """Let the test be an ERROR, of the message ``otherwise``, if ``run()`` returns before ``coroutine`` begins."""
        self._waits = [wait for wait in self._waits if _is_new(wait[0])]
        self._waits.append((coroutine, otherwise))

    async def _in_time(self, result: Coroutine[Any, Any, Any]) -> Any:
        try:
            async with asyncio.timeout(self.deadline - time.monotonic() + _GRACE) as bound:
                returned = await result
        except TimeoutError as exc:
            if not bound.expired():
                raise
            took = f"{time.monotonic() - self.started:.1f} s{in_brackets(raised_at(exc))}"
            raise LiveCheckTestTimeout(f"run() was stopped after {took}") from None
        self._check_waits()
        return returned

    def _check_waits(self) -> None:
        unawaited = [otherwise for wait, otherwise in self._waits if _is_new(wait)]
        self._waits = []  # so that Python warns of them now
        if unawaited:
            raise RuntimeError(unawaited[0])


def _is_new(coroutine: Coroutine[Any, Any, Any]) -> bool:
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
