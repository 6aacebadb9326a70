"""Options of the Celery message of one test, which are stored with the test, so that a re-sent message has them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery
from celery.backends.rpc import RPCBackend
from celery.utils.functional import maybe_list
from kombu import Exchange, Queue
from kombu.compression import get_encoder
from kombu.utils.json import dumps, loads
from kombu.utils.uuid import uuid

from livecheck_celery.errors import ConfigurationError, InvalidPayload, UnreadableData
from livecheck_celery.utils.sanitize import message_of, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler

#: Options that a worker reads in the message.
_MESSAGE: Final = frozenset(
    [
        "task_id",
        "callbacks",
        "errbacks",
        "chain",
        "chord",
        "group_id",
        "group_index",
        "root_id",
        "parent_id",
        "shadow",
        "time_limit",
        "soft_time_limit",
        "reply_to",
        "ignore_result",
        "argsrepr",
        "kwargsrepr",
        "replaced_task_nesting",
        "stamped_headers",
        "origin",
    ]
)
#: Options for the broker.
_SENDING: Final = frozenset(
    [
        "queue",
        "exchange",
        "exchange_type",
        "routing_key",
        "priority",
        "headers",
        "compression",
        "delivery_mode",
        "mandatory",
        "expiration",
        "correlation_id",
        "message_id",
        "timestamp",
        "type",
        "user_id",
        "app_id",
    ]
)
#: Options about the connection, the serializer and the routes, for which LiveCheck has its own.
_OVERRULED: Final = frozenset(
    [
        "producer",
        "publisher",
        "connection",
        "retry",
        "retry_policy",
        "serializer",
        "router",
        "route_name",
        "task_type",
        "result_cls",
        "now",
        "timezone",
        "utc",
        "retries",
        "content_type",
        "content_encoding",
        "immediate",
        "timeout",
        "confirm_timeout",
        "declare",
        "event_dispatcher",
        "create_sent_event",
    ]
)
#: Options that are text, as LiveCheck uses them itself.
_NAMES: Final = ("task_id", "queue")
_MAX_PRIORITY: Final = 255


@dataclass(frozen=True)
class MessageOptions:
    """Options of one message.

    Attributes:
        message: for the message itself, by the names of Celery's ``create_task_message``.
        sending: for the broker, by the names of Celery's ``send_task_message``; without a queue or an exchange, the
            message goes to LiveCheck's queue.
    """

    message: dict[str, Any] = field(default_factory=dict)
    sending: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> MessageOptions:
        """Parse the JSON of `as_json`; None stands for a message whose result nobody reads.

        Raises:
            UnreadableData: ``text`` was not written by `as_json`.
        """
        if text is None:
            return cls({"ignore_result": True})
        try:
            found = loads(text)
            message, sending = (dict(found[name]) for name in ("message", "sending"))
            if not all(isinstance(one.get(name, ""), str) for one in (message, sending) for name in _NAMES):
                raise TypeError("a name is not text")  # noqa: TRY301 - as all that is not as_json's
            _check_compression(sending)
        except Exception as exc:
            reraise_from_handler(exc)
            raise UnreadableData(f"the message options are unreadable: {type_and_message(exc)}") from exc
        return cls(message, sending)

    def as_json(self) -> str:
        """Encode the options as Celery encodes messages."""
        return str(dumps({"message": self.message, "sending": self.sending}))


def prepare(app: Celery, options: Mapping[str, Any], *, owner: str, limit: int) -> str:
    """Check the options of a call of ``apply_async``, and return them as JSON.

    Args:
        app: the app whose tasks and result backend the test uses.
        options: of Celery's ``apply_async``.
        owner: names the test in errors.
        limit: bytes allowed.

    Raises:
        ConfigurationError: an option is unknown or wrong, or the queue is not declared.
        InvalidPayload: the options are not JSON, or too large.
    """
    given = {name: value for name, value in options.items() if name not in _OVERRULED and value is not None}
    stamps = set(given.get("stamped_headers") or ())
    for name, renamed in (("link", "callbacks"), ("link_error", "errbacks")):
        if (linked := given.pop(name, None)) is not None:
            given[renamed] = maybe_list(linked)
    if unknown := sorted(given.keys() - _MESSAGE - _SENDING - stamps):
        raise ConfigurationError(f"{owner}: apply_async: unknown options: {', '.join(unknown)}")
    message = {name: value for name, value in given.items() if name in _MESSAGE or name in stamps}
    sending = {name: value for name, value in given.items() if name in _SENDING and name not in stamps}
    message.setdefault("task_id", uuid())
    message.setdefault("ignore_result", False)
    _add_parent(app, message)
    if isinstance(app.backend, RPCBackend) and not message["ignore_result"]:
        message.setdefault("reply_to", app.thread_oid)
    prepared = MessageOptions(message, {**sending, **_destination(app, sending, owner)})
    _check(app, prepared, owner)
    try:
        text = prepared.as_json()
    except Exception as exc:  # any object can be in a linked task
        reraise_from_handler(exc)
        raise InvalidPayload(f"{owner}: the options of apply_async are not JSON: {message_of(exc)}") from exc
    if len(text) > limit:
        raise InvalidPayload(
            f"{owner}: the options of apply_async are {len(text)} bytes, over the limit of {limit} "
            "(livecheck_max_payload)"
        )
    return text


def _add_parent(app: Celery, message: dict[str, Any]) -> None:
    parent: Any = app.current_worker_task
    if parent:
        message.setdefault("root_id", parent.request.root_id or parent.request.id)
        message.setdefault("parent_id", parent.request.id)


def _destination(app: Celery, sending: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the names of the queue and the exchange in ``sending``."""
    names: dict[str, Any] = {}
    exchange, queue = sending.get("exchange"), sending.get("queue")
    if isinstance(exchange, Exchange):
        names.update(exchange=exchange.name, exchange_type=exchange.type)
    if isinstance(queue, Queue):
        app.amqp.queues.setdefault(queue.name, queue)
        names["queue"] = queue.name
    elif queue is not None:
        try:
            app.amqp.queues[queue]
        except KeyError:
            fix = "declare it there, or set task_create_missing_queues"
            raise ConfigurationError(f"{owner}: apply_async: queue {queue!r} is not in task_queues; {fix}") from None
    return names


def _check(app: Celery, options: MessageOptions, owner: str) -> None:
    """Refuse options of a wrong type before the test is recorded."""
    priority = options.sending.get("priority", 0)
    try:
        app.amqp.create_task_message(name="", **options.message)
        _check_compression(options.sending)
        if not isinstance(priority, int) or not 0 <= priority <= _MAX_PRIORITY:
            raise TypeError(f"priority must be an integer from 0 to {_MAX_PRIORITY}, not {priority!r:.40}")  # noqa: TRY301 - as all wrong options
        dict(options.sending.get("headers", {}))
    except (TypeError, ValueError, AttributeError, KeyError) as exc:
        raise ConfigurationError(f"{owner}: apply_async: {message_of(exc)}") from exc


def _check_compression(sending: Mapping[str, Any]) -> None:
    # The error of an unknown one looks like that of a broker.
    if (name := sending.get("compression")) is not None:
        try:
            get_encoder(name)
        except (KeyError, TypeError):
            raise ValueError(f"unknown compression {name!r:.40}") from None


def from_request(request: Any) -> str | None:
    """Return the options of a message that a worker received, as JSON; None for one whose result nobody reads.

    Args:
        request: of the running task (``task.request``).
    """
    hard, soft = request.timelimit or (None, None)
    stamps = request.stamps or {}
    message = {
        "callbacks": request.callbacks,
        "errbacks": request.errbacks,
        "chain": request.chain,
        "chord": request.chord,
        "group_id": request.group,
        "group_index": request.group_index,
        "reply_to": request.reply_to,
        "time_limit": hard,
        "soft_time_limit": soft,
        "stamped_headers": request.stamped_headers,
        **stamps,
    }
    message = {name: value for name, value in message.items() if value}
    delivered = request.delivery_info or {}
    sending = {"priority": delivered.get("priority")} if delivered.get("priority") else {}
    exchange, routing_key = delivered.get("exchange"), delivered.get("routing_key")
    if not exchange and routing_key:
        sending["queue"] = routing_key
    elif exchange:
        # Not "direct", with which Celery sends a message without a routing key to the default queue.
        sending.update(exchange=exchange, routing_key=routing_key, exchange_type="topic")
    if not message and request.ignore_result and sending.keys() <= {"queue"}:
        return None
    message |= {"task_id": request.id, "ignore_result": bool(request.ignore_result), "shadow": request.shadow}
    message |= {"root_id": request.root_id, "parent_id": request.parent_id}
    if request.headers:
        sending["headers"] = dict(request.headers)
    return MessageOptions(message, sending).as_json()
