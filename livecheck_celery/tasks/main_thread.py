"""The thread in which a worker consumes: what it executes, and how another thread has it run a function.

On gevent, each thread has a loop of its own. A lock, an event or a socket for which greenlets of two loops wait at the
same time raises `InvalidThreadUseError` in one of them.
"""

from __future__ import annotations

import queue
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from livecheck_celery.utils.native import native, threads_are_greenlets
from livecheck_celery.utils.sanitize import sanitize

_STANDARD: Final = f"{sysconfig.get_path('stdlib')}/"
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")


class MainThread:
    """The thread that makes it and, on gevent, its greenlet and its loop."""

    def __init__(self) -> None:
        self._thread_id = native("_thread", "get_ident")()
        gevent: Any = sys.modules.get("gevent") if threads_are_greenlets() else None
        self._greenlet = gevent and gevent.getcurrent()
        self._hub = gevent and gevent.get_hub()

    def place(self) -> str:
        """Describe the line that the thread executes or waits at, as ``kombu/pool.py:12 in join()``."""
        innermost = self._frame()
        stack = traceback.walk_stack(innermost) if innermost is not None else ()
        frame, line = next(((frame, line) for frame, line in stack if not _is_waiting(frame)), (None, 0))
        if frame is None:
            return "an unknown place"
        code = frame.f_code
        return sanitize(f"{_module_of(code.co_filename) or code.co_filename}:{line} in {code.co_name}()")

    def run(self, function: Callable[[], object], seconds: float) -> None:
        """Run ``function``, whatever it raises, and leave it after ``seconds``.

        On gevent it runs in the loop of the thread, and not at all if a greenlet blocks the loop. Otherwise it runs in
        a thread of its own.
        """
        done: queue.SimpleQueue[None] = native("queue", "SimpleQueue")()

        def run() -> None:
            with suppress(Exception):
                function()
            done.put(None)

        if self._hub is None:
            threading.Thread(target=run, name="livecheck-main-thread", daemon=True).start()
        else:
            self._hub.loop.run_callback_threadsafe(sys.modules["gevent"].spawn, run)
        with suppress(queue.Empty):
            done.get(timeout=seconds)

    def _frame(self) -> FrameType | None:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - documented API despite its name
        idle = self._greenlet is not None and frame is not None and frame.f_code.co_filename.endswith("/gevent/hub.py")
        return self._greenlet.gr_frame if idle else frame


def _is_waiting(frame: FrameType) -> bool:
    """Return whether a frame is of the standard library or of gevent: of how its caller waits."""
    file = frame.f_code.co_filename
    installed = _module_of(file)  # also in a folder of the standard library's
    return installed.startswith("gevent/") if installed else file.startswith(_STANDARD)


def _module_of(file: str) -> str:
    """Return the path of an installed module in its folder; empty for other files."""
    return next((file.rpartition(folder)[2] for folder in _INSTALLED if folder in file), "")
