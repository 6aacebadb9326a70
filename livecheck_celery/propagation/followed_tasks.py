"""The tasks that are followed to their end, for which Celery calls receivers; it calls none for other tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Final
from weakref import WeakKeyDictionary

from celery.app.task import Context
from celery.utils.dispatch import Signal

from livecheck_celery.blocks import Work
from livecheck_celery.utils.compat import signal_keeps_its_list
from livecheck_celery.utils.forks import renew_after_fork

#: Number of tasks in a row without a test after which the receivers are disconnected. Small, since most tests are
#: samples; but not after each, since connecting takes longer than the tasks' calls.
MAX_UNUSED: Final = 10


class FollowedTasks:
    """Running tasks that are part of something, or that triggered a test, and the receivers of their end.

    A receiver costs each task one or two microseconds, whatever it does, and nearly all tasks are part of no test. So
    the receivers are connected by the first task that is followed, and disconnected when none has been for a while.
    With Celery before 5.7, they are always connected: there, a signal can replace its list of receivers, and the tracer
    of a task, which was made before, would see none in the earlier list.

    Args:
        receivers: by signal.
    """

    def __init__(self, receivers: Mapping[Signal, Callable[..., None]]) -> None:
        self._receivers = receivers
        # By request, not by task id: after a redelivery, one id can run twice at the same time in a process.
        self._works: WeakKeyDictionary[Context, Work | None] = WeakKeyDictionary()
        self._always = not signal_keeps_its_list()
        self._connected = False
        self._unused = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock: the thread that held it does not exist in the child."""
        self._lock = RLock()

    def __bool__(self) -> bool:
        return bool(self._works)

    def prepare(self) -> None:
        """Connect the receivers if they are always connected; call it before a worker makes the tracers of tasks."""
        if self._always:
            with self._lock:
                self._connect()

    def _connect(self) -> None:
        if not self._connected:
            for signal, receiver in self._receivers.items():
                signal.connect(receiver, weak=False)
            self._connected = True

    def add(self, request: Context, work: Work | None) -> None:
        """Follow the task of ``request``; ``work`` is its own, or None if it is part of the work of its caller."""
        with self._lock:
            self._works[request] = work
            self._unused = 0
            self._connect()

    def remove(self, request: Context) -> Work | None:
        """Return the work of a task that ends, if it was followed and has one of its own."""
        with self._lock:
            work = self._works.pop(request, None) if self._works else None
            self._unused = 0 if work is not None or self._works else self._unused + 1
            if self._unused > MAX_UNUSED and not self._always:
                for signal, receiver in self._receivers.items():
                    signal.disconnect(receiver)
                self._connected = False
            return work
