"""The hooks of a runner, which a subclass overrides, and the log of its test (reference: ``livecheck.runners``).

No verdict, counter or report depends on a hook, whatever it does or raises, and whether it calls ``super()``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from livecheck_celery.errors import LiveCheckTestSkipped
from livecheck_celery.execution.drivers import Driver
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.execution.test_log import TestLog, formatted, write
from livecheck_celery.models import State, TestExecution
from livecheck_celery.utils.durations import in_seconds
from livecheck_celery.utils.sanitize import sanitize

_PACKAGE: Final = f"{__name__.partition('.')[0]}."
#: The hook of the case that a hook of the runner calls by default.
_OF_CASE: Final = {
    "on_start": "on_test_start",
    "on_skipped": "on_test_skipped",
    "on_failed": "on_test_failed",
    "on_error": "on_test_error",
    "on_timeout": "on_test_timeout",
    "on_pass": "on_test_pass",
}
#: The methods that the runner calls.
HOOKS: Final = (*_OF_CASE, "on_signal_wait", "on_signal_received", "end")
_OF_STATE: Final = {
    State.PASS: "on_pass",
    State.SKIP: "on_skipped",
    State.FAIL: "on_failed",
    State.TIMEOUT: "on_timeout",
}


class AwaitedSignal(Protocol):
    """A signal, as far as the hooks of a runner use it."""

    name: str
    index: int

    @property
    def case(self) -> Any:
        """The case that declares the signal."""


class RunnerHooks:
    """The methods of a runner that a subclass can override; in the asyncio face, all but `end` are coroutines.

    A case names its subclass, as ``Runner = MyRunner``. What a hook raises is logged. By default, a hook calls the hook
    of the case, or logs a progress line; one that does not call ``super()`` does neither.
    """

    case: RunnableCase
    test: TestExecution
    ended: float | None

    def __init__(self) -> None:
        self._log = TestLog()
        self._progress: set[tuple[str, str, str]] = set()

    def on_start(self) -> Any:
        """Call ``on_test_start`` of the case, before ``run()``; not called if the test is skipped before ``run()``."""
        return self.case.on_test_start(self)

    def on_signal_wait(self, signal: Any, timeout: float | None) -> Any:
        """Log at once, with ``realtime_logs``, that the test waits for ``signal``; called by each ``wait()``.

        Args:
            signal: the signal.
            timeout: seconds, as ``wait()`` was given them; None for no timeout.
        """
        if self.case.realtime_logs:
            limit = "until the test expires" if timeout is None else f"for up to {timeout:g} s"
            self._log_progress("awaited", signal, f"awaited {limit}")

    def on_signal_received(self, signal: Any, time_start: float, time_end: float) -> Any:
        """Log that ``signal`` was received, and how long ``wait()`` took; the line is kept as other lines of the test.

        The runner itself has noted the signal in ``signal_latency``.

        Args:
            signal: the signal.
            time_start: monotonic time, in seconds, at which ``wait()`` began to wait.
            time_end: monotonic time at which the signal was there.
        """
        self._log_progress("received", signal, f"received after {in_seconds(time_end - time_start)}")

    def on_skipped(self, exc: LiveCheckTestSkipped) -> Any:  # noqa: ARG002 - the reference's
        """Call ``on_test_skipped`` of the case, once the verdict SKIP is recorded; ``exc`` has the reason."""
        return self.case.on_test_skipped(self)

    def on_failed(self, exc: BaseException) -> Any:
        """Call ``on_test_failed`` of the case, once the verdict FAIL is recorded."""
        return self.case.on_test_failed(self, exc)

    def on_error(self, exc: BaseException) -> Any:
        """Call ``on_test_error`` of the case, once the verdict ERROR is recorded."""
        return self.case.on_test_error(self, exc)

    def on_timeout(self, exc: BaseException) -> Any:
        """Call ``on_test_timeout`` of the case, once the verdict TIMEOUT is recorded."""
        return self.case.on_test_timeout(self, exc)

    def on_pass(self) -> Any:
        """Call ``on_test_pass`` of the case, once the verdict PASS is recorded."""
        return self.case.on_test_pass(self)

    def end(self) -> None:
        """Override this to act when the test has its verdict, of any state, before the hook of the verdict.

        Called once by the runner, which has then recorded the verdict, and has set ``ended`` and ``runtime`` itself: in
        the reference, this method sets them. An ordinary method in both faces, as in the reference: do not block in it.
        """

    # -- log lines

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger of the case, which keeps the lines of a test until its verdict (reference: ``TestRunner.log``)."""
        return self.case.log

    def log_line(self, level: int, msg: object, *args: object) -> None:
        """Keep a log line until the verdict; emit it at once with ``realtime_logs``, and after the verdict."""
        text = formatted(msg, args)
        level = level if isinstance(level, int) else logging.INFO  # an error of the caller decides nothing
        if self.case.realtime_logs or self.ended is not None:
            write(self.case.logger, level, "[%s] %s", self.test.shortident, sanitize(text))
        else:
            self._log.keep(level, text)

    @property
    def logs(self) -> list[tuple[int, str]]:
        """The lines kept so far, as (level, text)."""
        return self._log.lines

    def log_info(self, msg: str, *args: object) -> None:
        """Log a line at level INFO (reference: ``TestRunner.log_info``)."""
        self.log_line(logging.INFO, msg, *args)

    # -- calls of the hooks

    async def signal_awaited(self, driver: Driver, signal: AwaitedSignal, seconds: float | None) -> None:
        """Call `on_signal_wait`, with the timeout in seconds."""
        if self._is_default("on_signal_wait"):
            RunnerHooks.on_signal_wait(self, signal, seconds)
        else:
            await self.case.run_hook(driver, self.on_signal_wait, signal, seconds, cancellable=True)

    async def signal_received(self, driver: Driver, signal: AwaitedSignal, time_start: float, time_end: float) -> None:
        """Call `on_signal_received`."""
        if self._is_default("on_signal_received"):
            RunnerHooks.on_signal_received(self, signal, time_start, time_end)
        else:
            hook = self.on_signal_received
            await self.case.run_hook(driver, hook, signal, time_start, time_end, cancellable=True)

    async def _call_start(self, driver: Driver) -> None:
        await self.case.run_hook(driver, *self._hook("on_start"), cancellable=True)

    async def _call_verdict(self, driver: Driver, state: State, error: BaseException | None) -> None:
        """Call `end`, then the hook of the verdict ``state``."""
        if not self._is_default("end"):
            await self.case.run_hook(driver, self.end)
        args = () if state is State.PASS else (error,)
        await self.case.run_hook(driver, *self._hook(_OF_STATE.get(state, "on_error"), *args))

    def _hook(self, name: str, *args: Any) -> tuple[Any, ...]:
        """Return what to call for a hook: directly that of the case, which log lines then name, unless overridden."""
        if not self._is_default(name):
            return getattr(self, name), *args
        of_case: Callable[..., Any] = getattr(self.case, _OF_CASE[name])
        return (of_case, self) if name == "on_skipped" else (of_case, self, *args)

    def _is_default(self, name: str) -> bool:
        module = getattr(getattr(self, name), "__module__", None)
        return isinstance(module, str) and module.startswith(_PACKAGE)

    def _log_progress(self, what: str, signal: AwaitedSignal, text: str) -> None:
        """Log a progress line, such as ``1/4 order_stored received after 0.012 s``, once for each signal."""
        line = (what, signal.case.name, signal.name)
        if line not in self._progress:
            self._progress.add(line)
            self.log_info("%s/%s %s %s", signal.index, len(signal.case.signals), signal.name, text)
