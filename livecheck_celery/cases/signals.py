"""Signals: sent by services, awaited by tests (reference: ``livecheck.signals``)."""

from __future__ import annotations

from datetime import timedelta

from livecheck_celery.cases.base_signal import T
from livecheck_celery.cases.redis_signal import RedisSignal
from livecheck_celery.execution.drivers import drive
from livecheck_celery.execution.event_loop import in_running_loop
from livecheck_celery.models import SignalEvent


class Signal(RedisSignal[T]):
    """A signal that any process can send, and that a test on a LiveCheck worker waits for.

    ``from_task`` and the other ``from_`` constructors declare an automatic signal, which is sent when an operation
    finishes as part of a test of the case, in any service that propagates tests.

    ``Signal(times=1)`` fails a test at which the signal arrives more than once; the default is any number of times.
    """

    is_awaited = False

    def resolve(self, key: object, event: SignalEvent) -> None:
        """Store ``event`` for the test ``key``, and wake its waiters in all processes.

        Raises:
            InvalidPayload: the value of the event has no JSON form, or is not of the signal's type.
            RedisUnavailable: Redis did not answer.
        """
        self._resolve(key, event)

    def wait(self, *, key: object = None, timeout: float | timedelta | str | None = None) -> T:
        """Wait for the signal and return its value.

        Args:
            key: id of the receiving test, as for `send`; by default the test being executed. Signals of another test
                are available until two minutes after its verdict.
            timeout: seconds, or a duration such as ``"30s"``; at most, and by default, until the test expires.

        Raises:
            LiveCheckTestTimeout: the signal did not arrive in time.
            LiveCheckTestFailed: the value is not of type ``T``.
            RuntimeError: called outside ``run()``; or on a thread with a running event loop, which would be blocked.
            ValueError: the timeout is negative, or not a duration.
        """
        runner = self._runner()
        if in_running_loop():
            raise RuntimeError(
                f"{self.described}: wait() would block the running event loop; signals that are awaited are those of "
                "livecheck_celery.aio"
            )
        return drive(self._wait(runner.case.thread_driver, key, timeout))
