"""The result of a task whose test ended on the event loop, after the task had returned its slot."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from celery import Celery
from celery.app.trace import trace_task

_result: ContextVar[str | None] = ContextVar("livecheck_late_result", default=None)


def late_result() -> str | None:
    """Return the result of the running task, if its test has already ended."""
    return _result.get()


def finish_task(app: Celery, name: str, request: Any, result: str) -> None:
    """Execute the task ``name`` of ``request`` again, which returns ``result``.

    Celery then does what it does after any task: it stores the result, and sends links and the rest of a chain.
    """
    token = _result.set(result)
    try:
        options = {**vars(request), "called_directly": False}
        trace_task(app.tasks[name], request.id, request.args, request.kwargs, options, app=app)
    finally:
        _result.reset(token)
