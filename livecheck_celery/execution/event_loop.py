"""Run coroutines for synchronous code, on one event loop thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

from livecheck_celery.utils.forks import renew_after_fork


class EventLoop:
    """An asyncio event loop in a daemon thread, started when first used."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's loop, whose thread does not exist in the child."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def finish(self, outcome: Any) -> Any:
        """Return ``outcome``, or its result if it is a coroutine; the coroutine sees a copy of the context."""
        if not inspect.iscoroutine(outcome):
            return outcome
        return asyncio.run_coroutine_threadsafe(outcome, self._running()).result()

    def close(self) -> None:
        """Stop the loop when its last task is done, without waiting for that task."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_stop_when_idle(), loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="livecheck-async", daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _stop_when_idle() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)
    # After this task's own result has been delivered.
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
