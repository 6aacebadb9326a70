"""Exit a beat in bounded time, and not while it publishes a message.

At SIGTERM, Celery's handler stores the schedule and closes the connection. If that interrupts a publish, the
interrupted code fails on what is closed, and beat exits with a traceback and code 1. If RabbitMQ does not answer,
closing waits without limit.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Final

from celery.apps.beat import Beat
from celery.beat import Service

from livecheck_celery.utils.native import native

#: Seconds after SIGTERM in which a beat can exit by itself.
EXIT_WITHIN: Final = 5.0
#: Seconds for the publish that a signal interrupts.
PUBLISH_WITHIN: Final = 1.0
_TICK: Final = 0.05


def exit_in_time() -> None:
    """Handle SIGTERM and SIGINT between two messages, and exit 5 s later; only where Celery's beat handles them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        handle: Any = signal.getsignal(number)
        if getattr(handle, "__module__", None) == Beat.__module__:
            signal.signal(number, _Handler(handle))


class _Handler:
    """A handler of a signal, in place of Celery's, ``handle``."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._first: float | None = None

    def __call__(self, number: int, frame: Any) -> None:
        """Call Celery's handler if beat waits for the next message; else send the signal again a moment later."""
        start_thread = native("_thread", "start_new_thread")
        now = time.monotonic()
        if self._first is None:
            self._first = now
            start_thread(_exit_late, ())
        if frame.f_code is Service.start.__code__ or now - self._first > PUBLISH_WITHIN:
            self._handle(number, frame)
        else:
            start_thread(_send_again, (number,))


def _send_again(number: int) -> None:
    native("time", "sleep")(_TICK)
    os.kill(os.getpid(), number)


def _exit_late() -> None:
    native("time", "sleep")(EXIT_WITHIN)
    os._exit(0)
