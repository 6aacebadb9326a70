"""Validate messages before Celery executes them, and reject malformed ones with one log line.

Some malformed messages end a Celery worker: a body ``null``, or an unknown task without an id. Anybody who can write to
the broker can send them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, cast

from celery import Celery, bootsteps, signals
from kombu import Queue
from kombu.exceptions import ContentDisallowed, DecodeError

from livecheck_celery.delivery.publisher import LAYOUT_KEYWORD
from livecheck_celery.execution.failures import describe
from livecheck_celery.models import MAX_ID, is_newer
from livecheck_celery.tasks import ledger_acks
from livecheck_celery.tasks.own_task import JSON, queues_of
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.sanitize import get_logger, is_printable
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Content types accepted on LiveCheck's queues, regardless of ``accept_content`` of the app.
ACCEPT: Final = frozenset({JSON})
#: Seconds after which a message that this worker cannot read goes back to its queue.
REQUEUE_AFTER: Final = 3.0
#: Headers that Celery logs unescaped, and whole.
_LOGGED: Final = ("id", "task", "shadow")
_TIMES: Final = ("eta", "expires")
#: Parts of a body in the current message protocol: args, kwargs, embed.
_BODY_PARTS: Final = 3


_is_own: ContextVar[bool] = ContextVar("livecheck_is_own_message", default=False)


class OwnQueue(Queue):
    """A queue of LiveCheck; while one of its messages is delivered, `_is_own` is true.

    The routing key of a message does not name its queue: a queue of a topic, fanout or headers exchange receives
    messages with any routing key.
    """

    def consume(self, consumer_tag: str = "", callback: Any = None, **options: Any) -> Any:  # type: ignore[override] # kombu's options differ by version
        """Start to consume the queue."""

        def deliver(message: Any) -> None:
            token = _is_own.set(True)
            try:
                callback(message)
            finally:
                _is_own.reset(token)

        return super().consume(consumer_tag, cast("Any", deliver), **options)


def install(app: Celery, livechecks: Sequence[Installed]) -> None:
    """Filter the messages that workers of ``app`` receive from the queues of ``livechecks``, which can still grow."""

    class MessageFilter(bootsteps.StartStopStep):
        """Run `why_invalid` before a worker handles a message."""

        requires = ("celery.worker.consumer:Tasks",)

        def start(self, parent: Any) -> None:
            """Install the filter; called after each connect of the worker, before it consumes."""
            consumed: dict[str, Any] = app.amqp.queues.consume_from
            ours = consumed.keys() & {name for each in livechecks for name in queues_of(each)}
            for name in ours:
                queue = OwnQueue(**consumed[name].as_dict())
                app.amqp.queues.add(queue)  # for queues that are cancelled, and added again at run time
                consumed[name] = queue
                parent.task_consumer.add_queue(queue)
            if ours:
                ledger_acks.install(parent.task_consumer.channel)
                parent.create_task_handler = lambda: _handler(
                    parent, type(parent).create_task_handler(parent), livechecks
                )

    app.steps["consumer"].add(MessageFilter)


def _handler(consumer: Any, handle: Callable[[Any], None], livechecks: Sequence[Installed]) -> Callable[[Any], None]:
    def on_message(message: Any) -> None:
        if not _is_own.get():
            handle(message)
            return
        if any(one.runtime.interruption.is_requested for one in livechecks):
            # A worker can be told to stop while it reconnects, and receive messages before Celery stops it.
            message.requeue()
            return
        message.accept = ACCEPT
        reason = why_invalid(message, consumer.strategies)
        if reason is None and is_newer(_keywords(message.payload).get(LAYOUT_KEYWORD)):
            throttled.warning("message filter: left a message of a newer version of LiveCheck to another worker")
            # Later, since this worker is likely to be the next one to receive it.
            consumer.timer.call_after(REQUEUE_AFTER, message.requeue)
            return
        if reason is None:
            try:
                handle(message)
            except (*consumer.connection_errors, *consumer.channel_errors):
                raise
            except Exception as exc:  # noqa: BLE001 - other parts of a message can have the wrong type, too
                reason = f"invalid message: {describe(exc)}"
        if reason is not None:
            throttled.error("message filter: refused a message: %s", reason, key=reason)
            if not message.acknowledged:
                message.reject_log_error(logger, consumer.connection_errors)
            signals.task_rejected.send(sender=consumer, message=message, exc=None)

    return on_message


def why_invalid(message: Any, known: Any) -> str | None:
    """Return why ``message`` is not a valid message of the ``known`` tasks; None if it is valid."""
    try:
        body = message.payload
    except ContentDisallowed:
        return f"content type {message.content_type!r:.100} is not JSON"
    except (DecodeError, LookupError) as exc:
        return f"cannot decode the body: {exc!s:.200}"
    headers = message.headers or {}
    if "task" not in headers and isinstance(body, dict):  # the message protocol of Celery 3
        headers, valid = body, _are_arguments(body.get("args", []), body.get("kwargs", {}))
    else:
        valid = (
            isinstance(body, list)
            and len(body) == _BODY_PARTS
            and _are_arguments(*body[:2])
            and isinstance(body[2], dict | None)
        )
    task = headers.get("task")
    if not isinstance(task, str) or task not in known:
        return f"unknown task {task!r:.200}"
    for name in _LOGGED:
        value = headers.get(name)
        is_valid = isinstance(value, str) and len(value) <= MAX_ID and is_printable(value)
        if not is_valid and (value is not None or name == "id"):
            return f"invalid header {name}: {value!r:.200}"
    for name in _TIMES:
        if not _is_time(headers.get(name)):
            return f"invalid header {name}: {headers[name]!r:.200}"
    return None if valid else f"the body has no task arguments: {body!r:.200}"


def _keywords(body: Any) -> dict[str, Any]:
    """Return the keyword arguments in a valid body."""
    keywords: dict[str, Any] = body.get("kwargs", {}) if isinstance(body, dict) else body[1]
    return keywords


def _is_time(value: Any) -> bool:
    try:
        return value is None or bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _are_arguments(args: Any, kwargs: Any) -> bool:
    return isinstance(args, list) and isinstance(kwargs, dict)
