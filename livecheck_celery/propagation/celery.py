"""Propagation over Celery: from a task to the tasks that it causes; also reports the outcome of tasks.

Uses Celery's signals, which cover every message and every task: children, retries, chains, groups, chords, links and
error links. A message that a worker's main process publishes for a task, such as the error link of a task whose prefork
child was killed, carries no test: the main process runs no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

from celery import Task
from celery.app.task import Context
from celery.signals import before_task_publish, task_failure, task_postrun, task_prerun, task_success

from livecheck_celery.blocks import Work
from livecheck_celery.context import mark_in_force, operation_tests
from livecheck_celery.guard import guarded
from livecheck_celery.models import HEADER_ID, HEADER_SYNTHETIC
from livecheck_celery.propagation.headers import DATA_HEADERS, mark_for_earlier_versions, outgoing, parse
from livecheck_celery.propagation.sources import TASK, OperationFinished
from livecheck_celery.utils.sanitize import type_and_message

#: Header in which tracing tools put a second copy of theirs, since Celery shows tasks only those (see `_headers_of`).
_NESTED: Final = "headers"

#: Prefix of the names of LiveCheck's own tasks. They serve all tests and are part of none; a mark crosses with them.
OWN_TASKS: Final = "livecheck."

# By request, not by task id: after a redelivery, one id can run twice at the same time in a process.
_running: WeakKeyDictionary[Context, Work] = WeakKeyDictionary()


class Listener(Protocol):
    """An object that is notified when tasks finish."""

    @property
    def operation_finished(self) -> OperationFinished:
        """The callback."""

    def count_ignored(self, reason: str) -> None:
        """Count the headers of a message that are ignored."""


# One set for the process, not one for each app, because Celery's signals are process-wide, and because a case can be
# declared on another app than the one that runs the task. Each listener sends only the signals of its own cases.
_listeners: WeakSet[Listener] = WeakSet()


def connect() -> None:
    """Connect to Celery's signals, for the tasks of every app in this process. Idempotent."""
    before_task_publish.connect(_add_headers)
    task_prerun.connect(_enter_task)
    task_success.connect(_report_success)
    task_failure.connect(_report_failure)
    task_postrun.connect(_leave_task)


def add_listener(listener: Listener) -> None:
    """Notify ``listener`` when a task that is part of a test finishes; holds a weak reference."""
    _listeners.add(listener)


def remove_listener(listener: Listener) -> None:
    """Stop notifying ``listener``."""
    _listeners.discard(listener)


@guarded("celery: failed to add the test to a message; it carries no test", None)
def _add_headers(sender: str, headers: dict[str, Any], **_: Any) -> None:
    is_own = sender.startswith(OWN_TASKS)
    carried = outgoing()
    if is_own:  # a chain in a fake request triggers a test in a task of LiveCheck's
        carried = {name: value for name, value in carried.items() if name == HEADER_SYNTHETIC}
    elif mark := mark_in_force():
        carried = {**mark_for_earlier_versions(mark), **carried}
    if carried or is_own:
        # A retried message still has the headers with which it arrived.
        for name in DATA_HEADERS:
            headers.pop(name, None)
        inner = headers.get(_NESTED)
        if isinstance(inner, Mapping):
            headers[_NESTED] = {name: value for name, value in inner.items() if name not in DATA_HEADERS}
        headers.update(carried)


@guarded("celery: failed to read the test of a task; it is part of none", None)
def _enter_task(task: Task[Any, Any], **_: Any) -> None:
    request = task.request
    is_own = task.name.startswith(OWN_TASKS)
    if request.is_eager:  # an eager task runs inside its caller, and keeps the caller's context
        if is_own:
            _running[request] = Work((), mark_in_force()).__enter__()
        return
    found = _headers_of(request)
    carried = parse(found)
    if HEADER_ID in found and not carried.tests:
        for listener in list(_listeners):
            listener.count_ignored("expired")
    _running[request] = Work(() if is_own else carried.tests, carried.mark).__enter__()


def _headers_of(request: Context) -> Mapping[str, Any]:
    """Return LiveCheck's headers of a task's message, the outer ones if it has some.

    Celery puts every header of a message into the attributes of the request. Its attribute ``headers`` has all of them,
    too, but with a header named ``headers`` only those in it.
    """
    return _own(vars(request)) or (_own(request.headers) if isinstance(request.headers, Mapping) else {})


def _own(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name in DATA_HEADERS if (value := headers.get(name)) is not None}


@guarded("celery: failed to leave the test of a task; continuing", None)
def _leave_task(task: Task[Any, Any], **_: Any) -> None:
    work = _running.pop(task.request, None)
    if work is not None:
        work.__exit__()


@guarded("celery: failed to record the outcome of a task; continuing", None)
def _report_success(sender: Task[Any, Any], result: Any, **_: Any) -> None:
    if tests := operation_tests(since=0.0):  # a task began before all tests triggered in it
        for listener in list(_listeners):
            listener.operation_finished(TASK, sender.name, tests, value=result)


@guarded("celery: failed to record the outcome of a task; continuing", None)
def _report_failure(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    if tests := operation_tests(since=0.0):  # a task began before all tests triggered in it
        error = f"task {sender.name} raised {type_and_message(exception)}"
        for listener in list(_listeners):
            listener.operation_finished(TASK, sender.name, tests, error=error)
