"""Stop a worker in bounded time, whichever way it is told to stop, and whatever its broker does.

Celery sends `worker_shutting_down` for Unix signals only. Every exit, also by `control.shutdown()` or after an error,
closes the worker's blueprint, and with it the bootstep of this module. Celery itself can wait without limit: for a
broker that does not answer, or for a thread that `run()` blocks. A thread of this module then exits the process.
"""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from billiard import active_children
from celery import bootsteps
from celery.apps.worker import Worker
from celery.worker import state

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.propagation.celery import OWN_TASKS
from livecheck_celery.runtime import REQUEST_TIMEOUT
from livecheck_celery.store import Store
from livecheck_celery.tasks.main_thread import MainThread
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.native import native
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

#: Seconds after the grace period in which a worker can exit by itself.
EXIT_WITHIN: Final = 3.0
#: Seconds for returning messages to the broker, and for flushing the outbox, before the process exits.
_GIVE_BACK: Final = 0.5
#: Seconds for all of that, and for handing tests back.
_EXIT_AT_LATEST: Final = 1.7
_TICK: Final = 0.2
#: Tests that are named in a log line.
_MAX_NAMED: Final = 5


class Listener(Protocol):
    """Callbacks of a worker's blueprint."""

    def worker_started(self, worker: Any) -> None:
        """Run when the worker has started its pool."""

    def worker_stops(self, worker: Any) -> None:
        """Run before any part of the worker stops, on every way to exit."""

    def worker_waits(self, worker: Any) -> None:
        """Run while the worker still has its connections, to wait for what its pool does not know."""

    def worker_terminates(self, worker: Any) -> None:
        """Run when the worker stops without waiting for tasks."""


def bootstep(listener: Listener) -> type[bootsteps.StartStopStep]:
    """Return a step of a worker's blueprint that calls ``listener``."""

    class LiveCheckStep(bootsteps.StartStopStep):
        """Call the listener when the worker starts and stops."""

        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            """Call `Listener.worker_started`."""
            listener.worker_started(parent)

        def close(self, parent: Any) -> None:
            """Call `Listener.worker_stops`."""
            listener.worker_stops(parent)

        def stop(self, parent: Any) -> None:
            """Call `Listener.worker_waits`."""
            listener.worker_waits(parent)

        def terminate(self, parent: Any) -> None:
            """Call `Listener.worker_terminates`."""
            listener.worker_terminates(parent)

    return LiveCheckStep


class GiveBack:
    """`Consumer.shutdown`, which returns messages to the broker: the first call does, whichever thread makes it.

    Two at the same time would disturb each other: the one of the worker would raise, and the worker exit with 1.

    Args:
        consumer: the consumer of the worker, whose method this replaces.
    """

    def __init__(self, consumer: Any) -> None:
        self._function = consumer.shutdown
        self._first = native("_thread", "allocate_lock")()
        self._ended = native("_thread", "allocate_lock")()
        self._ended.acquire()
        consumer.shutdown = self

    def __call__(self) -> None:
        """Return the messages, unless another call has begun to."""
        if self._first.acquire(blocking=False):
            try:
                self._function()
            finally:
                self._ended.release()

    def wait(self, seconds: float) -> None:
        """Wait up to ``seconds`` until the messages are returned."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()


class Shutdown:
    """The end of one worker: its grace period, and the exit of its process.

    Args:
        worker: the Celery worker, in whose thread this is made.
        livechecks: those that it works for, at least one.
    """

    def __init__(self, worker: Any, livechecks: Sequence[Installed]) -> None:
        self._worker = worker
        self._livechecks = livechecks
        self._main = MainThread()
        self._give_back = GiveBack(worker.consumer)
        self._ending = False
        # Unlike other queues and events, it can be used in a signal handler.
        self._requests: queue.SimpleQueue[bool] = native("queue", "SimpleQueue")()
        if owns_process(worker):
            native("_thread", "start_new_thread")(self._watch, ())
        self._hand_back_at_cold_shutdown()

    def request(self, *, cold: bool = False) -> None:
        """Take no more tests, and interrupt waiting ones after ``shutdown_timeout``, or at once if ``cold``.

        A signal handler can call it. A repeated request does not prolong the grace period.
        """
        for livecheck in self._livechecks:
            livecheck.runtime.interruption.after(0.0 if cold else livecheck.settings.shutdown_timeout)
        self._requests.put(cold)

    def leave_to_thread(self) -> None:
        """Wait for the thread to exit the process, if it has begun to: the worker's own exit can take seconds more."""
        if self._ending:
            time.sleep(_EXIT_AT_LATEST)

    def _hand_back_at_cold_shutdown(self) -> None:
        """Keep Celery's cold shutdown from cancelling tests: they are handed back instead.

        On threads, Celery would fail to cancel; elsewhere, the test would get a false verdict.
        """
        consumer: Any = self._worker.consumer
        cancel = getattr(consumer, "cancel_active_requests", None)
        if cancel is None:  # Celery before 5.5, which cancels nothing
            return

        def cancel_others() -> None:
            self.request(cold=True)
            for request in _active(lambda name: name.startswith(OWN_TASKS)):
                state.active_requests.discard(request)
            try:
                cancel()
            except NotImplementedError:
                logger.warning("shutdown: tasks on this pool cannot be cancelled; waiting for them")

        consumer.cancel_active_requests = cancel_others

    # -- the thread

    def _watch(self) -> None:
        cold = self._requests.get()
        throttle = Throttle()
        while (left := self._grace_left()) > 0 or (others := self._others(cold)):
            if left <= 0 and throttle("others"):
                logger.warning("shutdown: waiting for tasks of the application: %s", ", ".join(others))
            with suppress(queue.Empty):
                cold = self._requests.get(timeout=_TICK) or cold
        self._end_process()

    def _grace_left(self) -> float:
        return EXIT_WITHIN + max(livecheck.runtime.interruption.remaining for livecheck in self._livechecks)

    @staticmethod
    def _others(cold: bool) -> list[str]:
        """Return the names of the application's tasks that the worker must finish; none at a cold shutdown."""
        return [] if cold else sorted({str(one.name) for one in _active(lambda name: not name.startswith(OWN_TASKS))})

    def _end_process(self) -> None:
        code = self._worker.exitcode or 0
        self._ending = True
        native("_thread", "start_new_thread")(_exit_after, (_EXIT_AT_LATEST, code))
        held = self._held()
        for livecheck in self._livechecks:
            _release(livecheck)
        logger.warning("shutdown: this worker did not stop by itself, %s; exiting", held)
        end = time.monotonic() + _GIVE_BACK
        self._main.run(self._give_back, _GIVE_BACK)
        self._give_back.wait(max(0.0, end - time.monotonic()))
        for livecheck in self._livechecks:
            self._main.run(partial(livecheck.runtime.outbox.flush, _GIVE_BACK), _GIVE_BACK)
        if self._worker.pidlock:
            self._worker.pidlock.release()
        _exit(code)

    def _held(self) -> str:
        """Describe what the worker waits for."""
        tests = [f"{case}:{key}" for each in self._livechecks for case, key, _ in each.runtime.leases.held]
        named = ", ".join(tests[:_MAX_NAMED]) + (" …" if len(tests) > _MAX_NAMED else "")
        return f"held at {self._main.place()}" + (f", with tests that have not ended: {named}" if tests else "")


def _exit_after(seconds: float, code: int) -> None:
    """Exit, although the thread that ends the process is blocked, for example by the lock of a log."""
    native("time", "sleep")(seconds)
    _exit(code)


def _exit(code: int) -> None:
    for child in active_children():
        with suppress(OSError):  # it has exited
            os.kill(child.pid or 0, signal.SIGKILL)
    os._exit(code)


def owns_process(worker: Any) -> bool:
    """Return whether the process is that of ``worker``, and not, for example, that of a host's tests."""
    return isinstance(worker, Worker)


def _release(livecheck: Installed) -> None:
    """Release all executions of this process in Redis, for the sweep to re-send."""
    # On gevent, an open connection belongs to the thread that opened it.
    store = Store(livecheck.settings, timeout=REQUEST_TIMEOUT, wait=REQUEST_TIMEOUT)
    try:
        store.executions.release_all(livecheck.runtime.leases.held)
    except LiveCheckError as exc:
        logger.warning("shutdown: tests not handed back, recovery takes over: %s", exc)


def _active(wanted: Callable[[str], bool]) -> list[Any]:
    """Return the requests that the worker executes, of tasks whose name is ``wanted``."""
    for _ in range(10):
        with suppress(RuntimeError):  # another thread has changed the set meanwhile
            return [request for request in state.active_requests if wanted(str(request.name))]
    return []
