"""The runner of the asyncio face."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

from livecheck_celery.errors import LiveCheckTestSkipped, LiveCheckTestTimeout
from livecheck_celery.execution.drivers import LoopDriver
from livecheck_celery.execution.places import in_brackets, raised_at
from livecheck_celery.execution.runner import BaseRunner, current_execution
from livecheck_celery.execution.unawaited import has_ended, is_left_running, is_never_awaited, watch
from livecheck_celery.execution.verdicts import is_hand_back
from livecheck_celery.models import State
from livecheck_celery.utils.sanitize import type_and_message

#: Seconds after its deadline in which a coroutine can still raise its own timeout, which names the signal.
_GRACE: Final = 0.5


class TestRunner(BaseRunner):
    """One execution of a case, on the running event loop.

    As `livecheck_celery.TestRunner`; its hooks and `skip` are coroutines, except `end`, as in the reference.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits: list[tuple[Coroutine[Any, Any, Any], Any]] = []
        self._dropped: list[str] = []

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

    def expect_await(self, coroutine: Coroutine[Any, Any, Any], signal: Any) -> None:
        """Let the test be an ERROR if ``run()`` returns before ``coroutine``, a ``wait()`` of ``signal``, has ended.

        A task that was cancelled need not have ended.
        """
        self._waits = [wait for wait in self._waits if not has_ended(wait[0])]
        self._waits.append((coroutine, signal))

    async def _in_time(self, result: Coroutine[Any, Any, Any]) -> Any:
        watch(_note_dropped)
        self._dropped = []  # without those of hooks
        bound = asyncio.timeout(self.deadline - time.monotonic() + _GRACE)
        try:
            async with bound:
                returned = await result
        except BaseException as exc:
            # What the cancellation made user code raise, such as an error of its clean-up, decides nothing.
            if not bound.expired() or is_hand_back(exc) or isinstance(exc, asyncio.CancelledError):
                raise
            raise self._stopped(exc) from (None if isinstance(exc, TimeoutError) else exc)
        if bound.expired():
            raise self._stopped(None)
        self._check_awaited()
        return returned

    def _stopped(self, exc: BaseException | None) -> LiveCheckTestTimeout:
        """Return the verdict of a ``run()`` that was cancelled at its deadline, and raised ``exc``, or returned."""
        text = f"run() was stopped after {time.monotonic() - self.started:.1f} s"
        if exc is None:
            text += ", and ignored its cancellation"
        else:
            text += in_brackets(raised_at(exc))
            text += "" if isinstance(exc, TimeoutError) else f"; then it raised {type_and_message(exc)}"
        return LiveCheckTestTimeout(text)

    def _check_awaited(self) -> None:
        """Check that ``run()``, which has returned, has awaited what it called.

        Raises:
            RuntimeError: it has not.
        """
        problem = self._unawaited()
        self._waits = []  # so that Python warns of them now
        if problem is not None:
            raise RuntimeError(problem)

    def _unawaited(self) -> str | None:
        for wait, signal in self._waits:
            if is_never_awaited(wait):
                return f"{signal.described}: wait() was never awaited; write: await self.{signal.name}.wait()"
            if is_left_running(wait):
                return f"{signal.described}: wait() had not ended when run() returned; await it, or cancel its task"
        return f"coroutine {self._dropped[0]} was never awaited in run()" if self._dropped else None


def _note_dropped(name: str) -> None:
    runner = current_execution()
    if isinstance(runner, TestRunner):
        runner._dropped.append(name)  # noqa: SLF001 - of this module
