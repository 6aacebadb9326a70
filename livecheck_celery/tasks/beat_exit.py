"""Exit a beat in bounded time, whatever its broker does.

At SIGTERM, Celery's beat stores its schedule and closes its connection, for which it waits without limit if RabbitMQ
does not answer.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any, Final

from celery.apps.beat import Beat

from livecheck_celery.utils.native import native

#: Seconds after SIGTERM in which a beat can exit by itself.
EXIT_WITHIN: Final = 5.0


def exit_in_time() -> None:
    """Exit this process 5 s after SIGTERM or SIGINT, if Celery's beat handles these signals and has not exited."""
    for number in (signal.SIGTERM, signal.SIGINT):
        handle: Any = signal.getsignal(number)
        if getattr(handle, "__module__", None) == Beat.__module__:
            signal.signal(number, partial(_exit, handle))


def _exit(handle: Any, number: int, frame: Any) -> None:
    native("_thread", "start_new_thread")(_exit_late, ())
    handle(number, frame)


def _exit_late() -> None:
    native("time", "sleep")(EXIT_WITHIN)
    os._exit(0)
