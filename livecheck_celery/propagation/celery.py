"""Propagation over Celery: from a task to the tasks that it causes; also reports the outcome of tasks.

Uses Celery's signals, which cover every message and every task: children, retries, chains, groups, chords, links and
error links. A message that a worker's main process publishes for a task, such as the error link of a task whose prefork
child was killed, carries no test: the main process runs no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import ref

from celery import Task
from celery.app.task import Context
from celery.signals import before_task_publish, task_failure, task_postrun, task_prerun, task_success

from livecheck_celery.blocks import Work, is_anything_in_force
from livecheck_celery.context import mark_in_force, operation_tests
from livecheck_celery.guard import GUARD, guarded
from livecheck_celery.models import HEADER_ID, HEADER_OLD_SYNTHETIC, HEADER_SYNTHETIC, TestExecution
from livecheck_celery.propagation.followed_tasks import FollowedTasks
from livecheck_celery.propagation.headers import (
    DATA_HEADERS,
    NOTHING,
    Carried,
    mark_for_earlier_versions,
    outgoing,
    parse,
)
from livecheck_celery.propagation.listeners import Listener, Listeners
from livecheck_celery.propagation.sources import TASK
from livecheck_celery.utils.sanitize import type_and_message

#: Header in which tracing tools put a second copy of theirs, since Celery shows tasks only those (see `_headers_of`).
_NESTED: Final = "headers"

#: One of these is in every message that carries something.
_CARRYING: Final = frozenset({HEADER_ID, HEADER_SYNTHETIC, HEADER_OLD_SYNTHETIC})

#: Prefix of the names of LiveCheck's own tasks. They serve all tests and are part of none; a mark crosses with them.
OWN_TASKS: Final = "livecheck."


_listeners: Final = Listeners()


def connect() -> None:
    """Connect to Celery's signals, for the tasks of every app in this process. Idempotent."""
    before_task_publish.connect(_before_publish, weak=False)
    task_prerun.connect(_before_task, weak=False)
    _followed.prepare()


def add_listener(listener: Listener) -> None:
    """Notify ``listener`` when a task that is part of a test finishes; holds a weak reference."""
    _listeners.add(listener)


def remove_listener(listener: Listener) -> None:
    """Stop notifying ``listener``."""
    _listeners.remove(listener)


# Celery calls the next two for every message and every task, nearly all of which are part of no test. So these are not
# decorated, and decide by what is cheap to look up.


def _before_publish(sender: str, headers: dict[str, Any], **_: Any) -> None:
    try:
        if is_anything_in_force() or sender.startswith(OWN_TASKS):
            _add_headers(sender, headers)
    except Exception as exc:  # noqa: BLE001 - logged by the guard
        line = "celery: failed to add the test to a message; it carries no test"
        GUARD.failed(exc, line, line)


def _before_task(task: Task[Any, Any], **_: Any) -> None:
    try:
        request = task.request
        if request.is_eager:
            _enter_eager_task(task, request)
        elif _may_carry(vars(request)) or not TaskWork(request).enter_for_good():
            _enter_task(task, request)
    except Exception as exc:  # noqa: BLE001 - logged by the guard
        line = "celery: failed to read the test of a task; it is part of none"
        GUARD.failed(exc, line, line)


class TaskWork(Work):
    """The work of one task, which is followed to its end if it is part of something, or triggers a test.

    The work of any other task costs its end nothing: it stays in its thread until the next task replaces it.
    """

    def __init__(self, request: Context, carried: Carried = NOTHING) -> None:
        self._request = ref(request)
        if carried is not NOTHING:
            super().__init__(*carried)

    @property
    def is_over(self) -> bool:
        """Whether the task has ended."""
        return self._request() is None

    def collect(self, test: Any, *, lingers: bool) -> None:
        """Add a test that was triggered in the task, and follow the task to its end."""
        if (request := self._request()) is not None:
            _followed.add(request, self)
        super().collect(test, lingers=lingers)


def _add_headers(sender: str, headers: dict[str, Any]) -> None:
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


def _enter_eager_task(task: Task[Any, Any], request: Context) -> None:
    """Follow a task that runs inside its caller, and keeps the context of its caller."""
    work = TaskWork(request, Carried((), mark_in_force())) if task.name.startswith(OWN_TASKS) else None
    _followed.add(request, work)
    if work is not None:
        work.__enter__()


def _enter_task(task: Task[Any, Any], request: Context) -> None:
    found = _headers_of(request)
    carried = parse(found)
    if HEADER_ID in found and not carried.tests:
        for listener in _listeners:
            listener.count_ignored("expired")
    if task.name.startswith(OWN_TASKS):
        carried = Carried((), carried.mark)
    work = TaskWork(request, carried)
    if not (work.is_empty and work.enter_for_good()):
        _followed.add(request, work)
        work.__enter__()


def _may_carry(fields: Mapping[str, Any]) -> bool:
    """Return whether a message with these fields of its request can carry a test or a mark."""
    if HEADER_ID in fields or HEADER_SYNTHETIC in fields or HEADER_OLD_SYNTHETIC in fields:
        return True
    nested = fields.get(_NESTED)
    return nested is not None and isinstance(nested, Mapping) and any(name in nested for name in _CARRYING)


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
    work = _followed.remove(task.request)
    if work is not None:
        work.__exit__()


@guarded("celery: failed to record the outcome of a task; continuing", None)
def _report_success(sender: Task[Any, Any], result: Any, **_: Any) -> None:
    for listener, tests in _those_to_notify(sender):
        listener.operation_finished(TASK, sender.name, tests, value=result)


@guarded("celery: failed to record the outcome of a task; continuing", None)
def _report_failure(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    for listener, tests in _those_to_notify(sender):
        error = f"task {sender.name} raised {type_and_message(exception)}"
        listener.operation_finished(TASK, sender.name, tests, error=error)


def _those_to_notify(task: Task[Any, Any]) -> list[tuple[Listener, list[TestExecution]]]:
    """Return the listeners for which ``task`` is a source, which few tasks are, and its tests."""
    if not _followed:
        return []
    listeners = [listener for listener in _listeners if listener.listens_to(TASK, task.name)]
    if not listeners:
        return []
    tests = operation_tests(since=0.0)  # a task began before all tests triggered in it
    return [(listener, tests) for listener in listeners if tests]


_followed: Final = FollowedTasks(
    {task_success: _report_success, task_failure: _report_failure, task_postrun: _leave_task}
)
