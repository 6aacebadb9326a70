"""Runs coroutines for code that is not async, on one event loop thread a process."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

from livecheck_celery.utils.forks import renew_after_fork


class _Loop:
    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="livecheck-async", daemon=True).start()
            return self._loop


_loop = _Loop()


def finish(outcome: Any) -> Any:
    """``outcome`` itself, or what it returns when it is a coroutine; context variables go along."""
    if not inspect.iscoroutine(outcome):
        return outcome
    return asyncio.run_coroutine_threadsafe(outcome, _loop.get()).result()
