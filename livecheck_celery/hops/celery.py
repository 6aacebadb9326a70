"""How a Celery task passes the current test on to the tasks it causes.

By signals, as these see every message and every task: children, retries, chains, groups, chords, links and error links.
What Celery's main process publishes on a task's behalf, such as the error links of a task whose prefork child was
killed, carries nothing, for the main process is in no task.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

from celery import Task
from celery.app.task import Context
from celery.signals import before_task_publish, task_postrun, task_prerun

from livecheck_celery.hops import carrier

#: What the names of LiveCheck's own tasks begin with. They serve all tests and are part of none.
OWN_TASKS: Final = "livecheck."

# By request, not by task id: one id can run twice at once in a process, when a message is delivered again.
_tokens: WeakKeyDictionary[Context, carrier.Tokens] = WeakKeyDictionary()


def connect() -> None:
    """Let Celery tasks of this process, of any app, carry the current test. Calling it again changes nothing."""
    before_task_publish.connect(_add_headers)
    task_prerun.connect(_enter_task)
    task_postrun.connect(_leave_task)


def _add_headers(sender: str, headers: dict[str, Any], **_: Any) -> None:
    is_own = sender.startswith(OWN_TASKS)
    carried = {} if is_own else carrier.outgoing()
    if carried or is_own:
        # A retried message comes with the headers it arrived with.
        for name in carrier.HEADERS:
            headers.pop(name, None)
        headers.update(carried)


def _enter_task(task: Task[Any, Any], **_: Any) -> None:
    request = task.request
    if task.name.startswith(OWN_TASKS):
        carried = carrier.NOTHING
    elif request.is_eager:
        return  # runs inside its caller, and is part of whatever that is part of
    else:
        carried = carrier.arrived(request.headers or {})
    _tokens[request] = carrier.enter(carried)


def _leave_task(task: Task[Any, Any], **_: Any) -> None:
    tokens = _tokens.pop(task.request, None)
    if tokens is not None:
        carrier.leave(tokens)
