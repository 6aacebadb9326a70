"""Looks at messages before they become tasks: what is none of ours is refused, in one line, and harms no worker.

Of some messages a worker of Celery dies: of a body ``null``, or of one for an unknown task that has no id. Anybody
who can write to the broker can send one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, bootsteps, signals
from kombu.exceptions import ContentDisallowed, DecodeError

from livecheck_celery.execution.failures import describe
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

logger = get_logger(__name__)

#: Whatever the app accepts on its other queues: what is on ours is ours, and JSON.
ACCEPT: Final = frozenset({"application/json"})
#: Headers that Celery writes into its log as they are.
_LOGGED: Final = ("id", "task", "shadow")
_TIMES: Final = ("eta", "expires")


def install(app: Celery, suites: Sequence[LiveCheck]) -> None:
    """Have the workers of ``app`` look at what comes by the queues of ``suites``, which may still grow."""

    class Intake(bootsteps.StartStopStep):
        """Puts `why_not` before what a worker does with a message."""

        requires = ("celery.worker.consumer:Tasks",)

        def start(self, parent: Any) -> None:
            """Called each time the worker has connected."""
            ours = {name for one in suites for name in (one.settings.queue, one.settings.schedule_queue)}
            consumed = app.amqp.queues.consume_from
            if ours & consumed.keys():
                others = {queue.routing_key for name, queue in consumed.items() if name not in ours}
                parent.create_task_handler = lambda: _handler(parent, type(parent).create_task_handler(parent), others)

    app.steps["consumer"].add(Intake)


def _handler(consumer: Any, handle: Callable[[Any], None], others: set[str]) -> Callable[[Any], None]:
    def on_message(message: Any) -> None:
        if (message.delivery_info or {}).get("routing_key") in others:
            handle(message)
            return
        message.accept = ACCEPT
        reason = why_not(message, consumer.strategies)
        if reason is None:
            try:
                handle(message)
            except (*consumer.connection_errors, *consumer.channel_errors):
                raise
            except Exception as exc:  # noqa: BLE001 - there is more in a message that may be of the wrong type
                reason = f"it cannot be made a task: {describe(exc)}"
        if reason is not None:
            logger.error("refused a message: %s", reason)
            if not message.acknowledged:
                message.reject_log_error(logger, consumer.connection_errors)
            signals.task_rejected.send(sender=consumer, message=message, exc=None)

    return on_message


def why_not(message: Any, known: Any) -> str | None:
    """Why ``message`` is no task that a worker can begin with, of those ``known``; None when it is one."""
    try:
        body = message.payload
    except ContentDisallowed:
        return f"its content type is {message.content_type!r:.100}, and only JSON is taken here"
    except (DecodeError, LookupError) as exc:
        return f"its body cannot be read: {exc!s:.200}"
    headers = message.headers or {}
    if "task" not in headers and isinstance(body, dict):  # the message protocol of Celery 3
        headers, well = body, _are(body.get("args", []), body.get("kwargs", {}))
    else:
        well = isinstance(body, list) and len(body) == 3 and _are(*body[:2]) and isinstance(body[2], dict | None)  # noqa: PLR2004
    task = headers.get("task")
    if not isinstance(task, str) or task not in known:
        return f"no task {task!r:.200} is known here"
    for name in _LOGGED:
        value = headers.get(name)
        if not (isinstance(value, str) and value.isprintable()) and (value is not None or name == "id"):
            return f"its {name} is {value!r:.200}"
    for name in _TIMES:
        if not _is_time(headers.get(name)):
            return f"its {name} is {headers[name]!r:.200}"
    return None if well else f"its body holds no arguments of a task: {body!r:.200}"


def _is_time(value: Any) -> bool:
    try:
        return value is None or bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _are(args: Any, kwargs: Any) -> bool:
    return isinstance(args, list) and isinstance(kwargs, dict)
