"""The class of LiveCheck's own Celery tasks, which the host's settings for its tasks do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from celery.app.task import Context, Task
from celery.concurrency.base import BasePool
from celery.worker.request import Request

from livecheck_celery.delivery.queues import own_queue
from livecheck_celery.tasks.protocols import Installed

JSON: Final = "application/json"
#: Seconds; no limit, for a pool that would replace None or 0 by ``task_time_limit``.
UNLIMITED: Final = 366 * 24 * 3600


if TYPE_CHECKING:
    _Task = Task[Any, Any]
else:
    _Task = Task  # generic from Celery 5.4 on


class OwnRequest(Request):
    """A message that a worker received; decodes JSON, regardless of ``accept_content`` of the app."""

    def __init__(self, message: Any, **options: Any) -> None:
        if not options.get("decoded") and message.content_type == JSON:
            message.accept = {JSON}
            options.update(body=message.payload, decoded=True)
        super().__init__(message, **options)

    def context(self) -> Context:
        """Return what the running task has as its ``request``."""
        args, kwargs, embed = self.body
        about = {"args": args, "kwargs": kwargs, "hostname": self.hostname, "is_eager": False, "called_directly": False}
        return Context(self.request_dict, **about, **(embed or {}))

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Terminate the running task, after its test is no longer the one of the process that executes it."""
        # A pool of threads terminates nothing; the one of processes has the method in its instance.
        if getattr(pool.terminate_job, "__func__", None) is not BasePool.terminate_job:
            task: Any = self.task
            task.before_terminate(self)
        super().terminate(pool, signal)


class _AsGiven:
    """A router that sends each message to the queue in its options, regardless of ``task_routes``."""

    def route(self, options: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        return options


class OwnTask(_Task):
    """A task of LiveCheck.

    It does not inherit from the app's ``Task``, and overrules the settings that a host makes for all of its tasks:
    serializer, routes, rate limits, time limits (tests have deadlines of their own), late acknowledgement (recovery
    re-sends tests), and annotations of ``*``. Annotations of the task's own name apply.

    Attributes:
        livechecks: the LiveChecks whose queues the task is sent to.
        begin: called with a request before it is given to the pool; returns whether it needs no pool any more.
        before_terminate: called with the request of a task that is terminated.
    """

    abstract = True
    Request = f"{OwnRequest.__module__}:{OwnRequest.__name__}"
    serializer = "json"
    acks_late = False
    reject_on_worker_lost = False
    rate_limit = "0"  # not None, which would mean the setting of the app
    time_limit = UNLIMITED
    soft_time_limit = UNLIMITED
    livechecks: ClassVar[Sequence[Installed]] = ()
    begin: ClassVar[Callable[[Any], bool]] = staticmethod(lambda _: False)
    before_terminate: ClassVar[Callable[[Any], None]] = staticmethod(lambda _: None)

    @classmethod
    def annotate(cls) -> None:
        """Apply the annotations of the task's own name, and not those of all tasks.

        An annotation that is an object can be for all tasks, so only those of a dict apply.
        """
        app: Any = cls.app
        for annotation in app.annotations:
            for name, value in (annotation.get(cls.name) or {} if isinstance(annotation, dict) else {}).items():
                if not name.startswith("@"):
                    setattr(cls, name, value)
        if cls.time_limit and cls.soft_time_limit and cls.soft_time_limit > cls.time_limit:
            cls.soft_time_limit = cls.time_limit  # Celery refuses to send a message otherwise

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override] # as Celery's
        """Send a message of the task: as JSON, and to the queue in ``options``."""
        name = options.get("queue")
        if isinstance(name, str) and any(name in queues_of(each) for each in self.livechecks):
            options["queue"] = own_queue(self.app, name)
        options.update(serializer="json", router=_AsGiven())
        return super().apply_async(args, kwargs, **options)


def queues_of(livecheck: Installed) -> tuple[str, str]:
    """Return the names of the queue of tests and the queue of schedules."""
    return livecheck.settings.queue, livecheck.settings.schedule_queue
