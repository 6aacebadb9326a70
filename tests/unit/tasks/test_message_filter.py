"""The filter of malformed messages, on kombu's messages and its in-memory transport."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.signals import task_rejected
from kombu import Connection, Consumer, Exchange, Queue, binding
from kombu.message import Message

from livecheck_celery import LiveCheck
from livecheck_celery.tasks.installation import installed_on
from livecheck_celery.tasks.message_filter import ACCEPT, why_invalid

TASK = "livecheck.execute"
BODY: Any = [[], {}, {"callbacks": None}]
HEADERS: Any = {"task": TASK, "id": "id-1"}
KNOWN = {TASK: object()}


def make_message(body: Any = BODY, headers: Any = HEADERS, **properties: Any) -> Message:
    """A message as received; ``body`` is sent as JSON unless it is text."""
    values = {"content_type": "application/json", "content_encoding": "utf-8", "accept": ACCEPT, **properties}
    return Message(body=body if isinstance(body, str | bytes) else json.dumps(body), headers=headers, **values)


def protocol_1(**fields: Any) -> Message:
    """A message of Celery 3, whose body holds everything."""
    return make_message({"task": TASK, "id": "id-1", "args": [], "kwargs": {}, **fields}, headers={})


@pytest.mark.parametrize(
    "message",
    [
        make_message(),
        make_message([["o-1"], {"side": "buy"}, {}]),
        make_message([[], {}, None]),
        make_message(headers={**HEADERS, "eta": "2026-03-02T10:00:00+00:00", "expires": "2026-03-02T11:00:00"}),
        make_message(headers={**HEADERS, "eta": None, "expires": None, "shadow": None}),
        make_message(headers={**HEADERS, "shadow": "Bestellung prüfen", "LiveCheck-Test-Id": 5}),
        protocol_1(),
        protocol_1(eta="2026-03-02T10:00:00", expires=None),
        make_message({"task": TASK, "id": "id-1"}, headers=None),
    ],
    ids=[
        "empty",
        "arguments",
        "no embed",
        "times",
        "empty headers",
        "other headers",
        "protocol 1",
        "protocol 1 with times",
        "protocol 1 without arguments",
    ],
)
def test_valid_message_is_accepted(message: Message) -> None:
    assert why_invalid(message, KNOWN) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            make_message(b"\x80\x04N.", content_type="application/x-pickle"),
            "content type 'application/x-pickle' is not",
        ),
        (make_message("task: x", content_type="application/x-yaml"), "content type 'application/x-yaml' is not JSON"),
        (make_message(b"\xff\xfe"), "cannot decode the body: "),
        (make_message("{"), "cannot decode the body: "),
        (make_message("["), "cannot decode the body: "),
        (make_message("text"), "cannot decode the body: "),
        (make_message(None), "the body has no task arguments: None"),
        (make_message("3"), "the body has no task arguments: 3"),
        (make_message([]), r"the body has no task arguments: \[\]"),
        (make_message([[], {}]), r"the body has no task arguments: \[\[\], \{\}\]"),
        (make_message([[], {}, {}, {}]), "the body has no task arguments: "),
        (make_message([{}, {}, {}]), "the body has no task arguments: "),
        (make_message([[], [], {}]), "the body has no task arguments: "),
        (make_message([None, None, None]), "the body has no task arguments: "),
        (make_message([[], {}, "embed"]), "the body has no task arguments: "),
        (make_message({"args": [], "kwargs": {}}), "the body has no task arguments: "),
        (protocol_1(args={}), "the body has no task arguments: "),
        (protocol_1(kwargs=[]), "the body has no task arguments: "),
        (make_message(headers={"id": "id-1"}), "unknown task None"),
        (make_message(headers=None), "unknown task None"),
        (make_message(headers={**HEADERS, "task": None}), "unknown task None"),
        (make_message(headers={**HEADERS, "task": "shop.gone"}), "unknown task 'shop.gone'"),
        (make_message(headers={**HEADERS, "task": ["livecheck.execute"]}), r"unknown task \['livecheck.execute'\]"),
        (protocol_1(task={}), r"unknown task \{\}"),
        (make_message(headers={"task": TASK}), "invalid header id: None"),
        (make_message(headers={**HEADERS, "id": 7}), "invalid header id: 7"),
        (make_message(headers={**HEADERS, "id": "a\nFAKE LOG LINE"}), r"invalid header id: 'a\\nFAKE LOG LINE'"),
        (make_message(headers={**HEADERS, "shadow": "\x1b[31mred"}), r"invalid header shadow: '\\x1b\[31mred'"),
        (make_message(headers={**HEADERS, "shadow": {}}), r"invalid header shadow: \{\}"),
        (make_message(headers={**HEADERS, "id": "x" * 513}), "invalid header id: 'xxx"),
        (make_message(headers={**HEADERS, "shadow": "x" * 513}), "invalid header shadow: 'xxx"),
        (protocol_1(id=None), "invalid header id: None"),
        (make_message(headers={**HEADERS, "eta": "soon"}), "invalid header eta: 'soon'"),
        (make_message(headers={**HEADERS, "eta": 5}), "invalid header eta: 5"),
        (make_message(headers={**HEADERS, "expires": ["now"]}), r"invalid header expires: \['now'\]"),
        (protocol_1(expires="never"), "invalid header expires: 'never'"),
    ],
)
def test_malformed_message_is_invalid_with_a_reason(message: Message, reason: str) -> None:
    found = why_invalid(message, KNOWN)
    assert re.match(reason, found or "is valid"), found


@pytest.mark.parametrize(
    "message",
    [
        make_message(headers={**HEADERS, "task": "x" * 10_000}),
        make_message(headers={**HEADERS, "id": ["x" * 10_000]}),
        make_message(headers={**HEADERS, "eta": "x" * 10_000}),
        make_message(["x" * 10_000]),
        make_message("{}", content_type="x" * 10_000),
    ],
    ids=["task", "id", "time", "body", "content type"],
)
def test_reason_is_short_however_long_the_message_is(message: Message) -> None:
    assert len(str(why_invalid(message, KNOWN))) < 300


@pytest.fixture
def channel() -> Iterator[Any]:
    """A channel of kombu's in-memory transport."""
    with Connection("memory://", virtual_host=uuid4().hex) as connection:
        yield connection.default_channel


@pytest.fixture
def rejected() -> Iterator[list[Any]]:
    """The messages of which Celery's signal says that they were rejected."""
    messages: list[Any] = []

    def note(message: Any, **_: Any) -> None:
        messages.append(message)

    task_rejected.connect(note)
    yield messages
    task_rejected.disconnect(note)


class Worker:
    """The parts of a worker's consumer that the filter uses."""

    strategies = KNOWN
    connection_errors = (ConnectionError,)
    channel_errors = (KeyError,)

    app: Celery
    timer: Any

    def __init__(self, channel: Any = None, queues: Sequence[Queue] = (), handle: Any = None) -> None:
        self.handled: list[Any] = []
        self._handle = handle or self.handled.append
        if channel is not None:
            self.task_consumer = Consumer(channel, queues=list(queues))

    def create_task_handler(self) -> Callable[[Any], None]:
        return self._handle

    def receive_all(self) -> None:
        """Consume what is in the queues, as a worker does."""
        self.task_consumer.on_message = self.create_task_handler()
        self.task_consumer.consume()
        with suppress(TimeoutError):
            while True:
                self.task_consumer.connection.drain_events(timeout=0.1)


def start_worker(channel: Any, *queues: str | Queue, strict: bool = False, handle: Any = None) -> Worker:
    """Start the filter in a worker that consumes ``queues``; LiveCheck's are "checks" and "checks.schedule"."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_queues = [queue for queue in queues if isinstance(queue, Queue)] or None
    LiveCheck(app, redis_url="redis://fake:6379/0", queue="checks", schedule_queue="checks.schedule")
    app.amqp.queues.select([queue.name if isinstance(queue, Queue) else queue for queue in queues])
    [step] = [step for step in app.steps["consumer"] if step.__name__ == "MessageFilter"]
    worker = Worker(channel, app.amqp.queues.consume_from.values(), handle)
    worker.app = app
    for _ in range(2):  # a worker starts it after each connect
        step(worker).start(worker)
    return worker


def send(
    channel: Any, body: Any = BODY, headers: Any = HEADERS, *, exchange: str = "", routing_key: str = "checks"
) -> None:
    """Publish a message."""
    prepared = channel.prepare_message(json.dumps(body), 0, "application/json", "utf-8", headers)
    channel.basic_publish(prepared, exchange=exchange, routing_key=routing_key)


def test_valid_message_is_handled_and_left_to_celery(channel: Any, rejected: list[Any]) -> None:
    worker = start_worker(channel, "checks")
    send(channel)
    worker.receive_all()
    [message] = worker.handled
    assert not message.acknowledged
    assert rejected == []


@pytest.mark.parametrize("queues", [["checks"], ["checks.schedule"], ["celery", "checks"]])
def test_invalid_message_is_rejected_with_one_log_line(
    channel: Any, rejected: list[Any], caplog: pytest.LogCaptureFixture, queues: list[str]
) -> None:
    worker = start_worker(channel, *queues)
    send(channel, None, routing_key=queues[-1])
    worker.receive_all()
    assert worker.handled == []
    [message] = rejected
    assert message.acknowledged
    assert channel.basic_get(queues[-1]) is None, "not requeued"
    assert caplog.messages == ["message filter: refused a message: the body has no task arguments: None"]


@pytest.mark.parametrize("routing_key", ["checks", "checks.schedule", "feed.prices"])
@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "bindings"])
def test_message_of_another_queue_is_not_examined_whatever_its_routing_key(
    channel: Any, rejected: list[Any], kind: str, routing_key: str
) -> None:
    feed = f"feed.{kind}"
    if kind == "bindings":
        queue = Queue(feed, bindings=[binding(Exchange(feed), key) for key in ("feed.prices", routing_key)])
    else:
        queue = Queue(feed, Exchange(feed, type=kind), routing_key="#" if kind == "topic" else routing_key)
    worker = start_worker(channel, queue, "checks")
    send(channel, None, exchange=feed, routing_key=routing_key)
    worker.receive_all()
    [message] = worker.handled
    assert message.accept is None
    assert rejected == []


def test_worker_that_stops_returns_messages(channel: Any, rejected: list[Any]) -> None:
    """It can have reconnected after it was told to stop."""
    worker = start_worker(channel, "checks")
    [livecheck] = installed_on(worker.app)
    livecheck.runtime.interruption.after(60)
    send(channel)
    worker.task_consumer.on_message = worker.create_task_handler()
    worker.task_consumer.consume()
    worker.task_consumer.connection.drain_events(timeout=1.0)
    worker.task_consumer.cancel()
    assert worker.handled == []
    assert channel.basic_get("checks") is not None
    assert rejected == []


@pytest.mark.parametrize("acknowledge", [False, True])
def test_message_that_celery_fails_to_handle_is_rejected(
    channel: Any, rejected: list[Any], caplog: pytest.LogCaptureFixture, acknowledge: bool
) -> None:
    def handle(message: Any) -> None:
        if acknowledge:
            message.ack()
        raise AttributeError("'int' object has no attribute 'get'")

    worker = start_worker(channel, "checks", handle=handle)
    send(channel)
    worker.receive_all()
    assert [message.acknowledged for message in rejected] == [True]
    [line] = caplog.messages
    assert line.startswith(
        "message filter: refused a message: invalid message: AttributeError: 'int' object has no attribute 'get'"
    )


@pytest.mark.parametrize("error", [ConnectionError, KeyError])
def test_errors_of_the_connection_are_left_to_celery(channel: Any, rejected: list[Any], error: type[Exception]) -> None:
    def handle(message: Any) -> None:
        raise error

    worker = start_worker(channel, "checks", handle=handle)
    send(channel)
    with pytest.raises(error):
        worker.receive_all()
    assert rejected == []


def test_worker_of_other_queues_is_not_changed(channel: Any) -> None:
    worker = start_worker(channel, "celery")
    assert "create_task_handler" not in vars(worker)


def test_queue_that_is_cancelled_and_added_again_is_still_filtered(channel: Any, rejected: list[Any]) -> None:
    worker = start_worker(channel, "celery", "checks")
    added = worker.app.amqp.queues["checks"]
    worker.task_consumer.cancel_by_queue("checks")
    worker.task_consumer.add_queue(added)
    send(channel, None)
    worker.receive_all()
    assert len(rejected) == 1


def test_message_of_a_newer_version_goes_back_to_the_queue_later(
    channel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    worker, later = start_worker(channel, "checks"), list[Any]()
    worker.timer = SimpleNamespace(call_after=lambda seconds, call: later.append((seconds, call)))
    send(channel, [[], {"livecheck_layout": 2}, {}])
    send(channel, [[], {"livecheck_layout": 1}, {}])
    worker.receive_all()
    assert len(worker.handled) == 1
    [(seconds, put_back)] = later
    assert seconds > 0
    assert len(caplog.messages) == 1
    worker.task_consumer.cancel()
    put_back()
    assert channel.basic_get("checks").decode()[1] == {"livecheck_layout": 2}
