"""The publisher, without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.signals import before_task_publish
from kombu import Queue

from livecheck_celery import BrokerUnavailable
from livecheck_celery.delivery.message_options import from_request, prepare
from livecheck_celery.delivery.publisher import Publisher
from tests.helpers.factories import make_test


def repeat_first(urls: list[str]) -> Iterator[str]:
    """Name the first server for ever."""
    return repeat(urls[0])


@pytest.fixture
def publisher() -> Any:
    app = Celery("shop", broker="memory://", set_as_current=False)
    return Publisher(app, "memory://", "livecheck", timeout=0.1)


def test_caller_does_not_wait_longer_than_the_timeout_for_another_thread(publisher: Any) -> None:
    with (
        publisher._lock,
        pytest.raises(BrokerUnavailable, match=r"the broker is slow: the message for .* was not sent within 0\.1 s"),
    ):
        publisher.execute(make_test())
    publisher.execute(make_test())


def test_message_describes_the_test_without_its_arguments(publisher: Any) -> None:
    message, _ = publisher._message(make_test("o-1", test_args=["a secret"]))
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("()", "shop.test_order:o-1")


@pytest.mark.parametrize(("seconds", "attempts"), [(0.0, 2), (0.3, 1)], ids=["at once", "slowly"])
def test_send_is_repeated_only_if_the_open_connection_failed_at_once(
    publisher: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, attempts: int
) -> None:
    tried: list[float] = []
    now = [0.0]

    def fail(producer: Any) -> None:
        tried.append(now[0])
        now[0] += seconds
        raise OSError("closed")

    monkeypatch.setattr("livecheck_celery.delivery.publisher.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(publisher, "_timeout", 0.4)
    monkeypatch.setattr(publisher, "_connected", lambda: None)
    monkeypatch.setattr(publisher, "_producer", object())
    with pytest.raises(BrokerUnavailable, match="closed"):
        publisher._send("a test", fail)
    assert len(tried) == attempts


@pytest.fixture
def queues(publisher: Any) -> Any:
    """Names of queues, which are empty."""
    with publisher._app.connection_for_read() as connection:
        for name in ("livecheck", "eu"):
            connection.default_channel.queue_declare(name)
            connection.default_channel.queue_purge(name)
        yield connection.default_channel


def test_waiting_messages_are_seen_also_in_a_queue_that_does_not_exist(publisher: Any, queues: Any) -> None:
    assert not publisher.has_messages(None)
    assert not publisher.has_messages("no-such-queue")
    publisher.execute(make_test())
    assert publisher.has_messages(None)
    assert not publisher.has_messages("eu")


def test_message_has_the_options_of_its_test_each_time(publisher: Any, queues: Any) -> None:
    options = {"task_id": "t-1", "queue": "eu", "priority": 3, "link": publisher._app.signature("shop.next")}
    test = make_test(message_options=prepare(publisher._app, options, owner="o-1", limit=1000))
    assert publisher.execute(test).id == "t-1"
    publisher.execute_all([test, test])
    for _ in range(3):
        message = queues.basic_get("eu", no_ack=True)
        assert message.headers["id"] == message.properties["correlation_id"] == "t-1"
        assert message.properties["priority"] == 3
        [_, kwargs, embed] = message.decode()
        assert embed["callbacks"][0]["task"] == "shop.next"
        assert "message_options" not in kwargs["livecheck_test"]
        assert message.headers["ignore_result"] is False


def test_queue_is_declared_once_for_a_connection(publisher: Any, queues: Any) -> None:
    declared: list[list[str]] = []

    def note(declare: Any, **_: Any) -> None:
        declared.append([queue.name for queue in declare])

    text = prepare(publisher._app, {"queue": "eu"}, owner="o-1", limit=1000)
    with connected(before_task_publish, note):
        publisher.execute_all([make_test(), make_test()])
        publisher.execute(make_test())
        publisher.execute(make_test(message_options=text))
        publisher.close()
        publisher.execute(make_test())
    assert declared == [["livecheck"], [], [], ["eu"], ["livecheck"]]


@contextmanager
def connected(signal: Any, receiver: Any) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.mark.parametrize("routing_key", ["eu", ""], ids=["topic", "fanout"])
def test_message_that_came_by_an_exchange_is_sent_to_it_again(publisher: Any, routing_key: str) -> None:
    sent: list[Any] = []
    producer = SimpleNamespace(publish=lambda *_, **options: sent.append((options["exchange"], options["routing_key"])))
    request = Context(id="t-1", delivery_info={"exchange": "prices", "routing_key": routing_key})
    message, sending = publisher._message(make_test(message_options=from_request(request)))
    publisher._app.amqp.send_task_message(producer, "livecheck.execute", message, **sending)
    assert sent == [("prices", routing_key)]


def test_queue_that_this_process_does_not_know_is_not_declared_anew(publisher: Any, queues: Any) -> None:
    known, other = publisher._app.amqp.queues, Celery("other", broker="memory://", set_as_current=False)
    text = prepare(other, {"queue": Queue("eu", max_length=5)}, owner="o-1", limit=1000)
    publisher.execute(make_test(message_options=text))
    assert queues.basic_get("eu", no_ack=True) is not None
    assert "eu" not in known


def test_queue_given_as_an_object_is_declared_with_its_properties(publisher: Any, queues: Any) -> None:
    app, queue = publisher._app, Queue("asia", max_length=5)
    text = prepare(app, {"queue": queue}, owner="o-1", limit=1000)
    _, sending = publisher._message(make_test(message_options=text))
    assert sending["queue"].max_length == 5
    assert not sending["queue"].no_declare


@pytest.mark.parametrize("strategy", [lambda urls: iter(urls[:2]), repeat_first], ids=["finite", "same"])
def test_failover_strategy_does_not_keep_a_call_from_a_broker_that_answers(
    monkeypatch: pytest.MonkeyPatch, strategy: Callable[[list[str]], Iterator[str]]
) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.broker_failover_strategy = strategy  # kombu's "shuffle" can name a server again, too
    publisher: Any = Publisher(app, "redis://a/0;redis://b/0;redis://c/0", "livecheck", timeout=0.1)

    def send(_: Any) -> None:
        if publisher._url != "redis://c/0":
            raise OSError("refused")

    monkeypatch.setattr(publisher, "_send_and_confirm", lambda send: send(None))
    publisher._send("a test", send)


@pytest.mark.parametrize("seconds", [0.0, 0.1], ids=["refused", "silent"])
def test_brokers_of_a_list_are_tried_in_order_within_the_bound(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    app = Celery("shop", set_as_current=False)
    publisher: Any = Publisher(app, "redis://a/0;redis://b/0;redis://c/0", "livecheck", timeout=0.1)
    tried: list[str] = []
    now = [0.0]

    def send(producer: Any) -> None:
        tried.append(publisher._url)
        if publisher._url != "redis://b/0":
            now[0] += seconds
            raise OSError("refused")

    monkeypatch.setattr("livecheck_celery.delivery.publisher.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(publisher, "_send_and_confirm", lambda send: send(None))
    publisher._send("a test", send)
    publisher._send("another test", send)
    assert tried == ["redis://a/0", "redis://b/0", "redis://b/0"], "the server that answers is kept"
