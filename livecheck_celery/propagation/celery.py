"""How a Celery task passes the current test on to the tasks it causes, and tells what it came to.

By signals, as these see every message and every task: children, retries, chains, groups, chords, links and error links.
What Celery's main process publishes on a task's behalf, such as the error links of a task whose prefork child was
killed, carries nothing, for the main process is in no task.
"""

from __future__ import annotations

from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

from celery import Task
from celery.app.task import Context
from celery.signals import before_task_publish, task_failure, task_postrun, task_prerun, task_success

from livecheck_celery.context import Token, tests_here, triggered_var
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.gate import Happened
from livecheck_celery.propagation.sources import TASK

#: What the names of LiveCheck's own tasks begin with. They serve all tests and are part of none.
OWN_TASKS: Final = "livecheck."

# By request, not by task id: one id can run twice at once in a process, when a message is delivered again.
_tokens: WeakKeyDictionary[Context, tuple[carrier.Tokens, Token[list[TestExecution] | None]]] = WeakKeyDictionary()


class Listener(Protocol):
    """Is told of what tasks came to."""

    @property
    def happened(self) -> Happened:
        """See `Happened`."""


_listeners: WeakSet[Listener] = WeakSet()


def connect() -> None:
    """Let Celery tasks of this process, of any app, carry the current test. Calling it again changes nothing."""
    before_task_publish.connect(_add_headers)
    task_prerun.connect(_enter_task)
    task_success.connect(_tell_success)
    task_failure.connect(_tell_failure)
    task_postrun.connect(_leave_task)


def add_listener(listener: Listener) -> None:
    """Tell ``listener``, as long as it lives, what tasks that are part of a test came to."""
    _listeners.add(listener)


def remove_listener(listener: Listener) -> None:
    """Tell ``listener`` no more."""
    _listeners.discard(listener)


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
    _tokens[request] = (carrier.enter(carried), triggered_var.set([]))


def _leave_task(task: Task[Any, Any], **_: Any) -> None:
    tokens = _tokens.pop(task.request, None)
    if tokens is not None:
        carrier.leave(tokens[0])
        triggered_var.reset(tokens[1])


def _tell_success(sender: Task[Any, Any], result: Any, **_: Any) -> None:
    if tests := tests_here():
        for listener in list(_listeners):
            listener.happened(TASK, sender.name, tests, value=result)


def _tell_failure(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    if tests := tests_here():
        error = f"task {sender.name} raised {type(exception).__name__}: {exception}"
        for listener in list(_listeners):
            listener.happened(TASK, sender.name, tests, error=error)
