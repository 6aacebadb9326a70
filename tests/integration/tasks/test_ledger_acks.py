"""Messages of recorded tests on Redis as a broker: counted, and neither stored again nor acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.transport.redis import QoS

from livecheck_celery.delivery.publisher import EXECUTE, TEST_KEYWORD
from livecheck_celery.tasks import ledger_acks
from livecheck_celery.tasks.ledger_acks import LedgerQoS

QUEUE = Queue("tests", Exchange("tests"), "tests")
RECORDED: Any = ([], {TEST_KEYWORD: {"recorded_at": 1.5}}, {})
OTHERS: dict[str, tuple[str, Any]] = {
    "not recorded": (EXECUTE, ([], {TEST_KEYWORD: {"recorded_at": None}}, {})),
    "of a chain": (EXECUTE, ([], {}, {})),
    "another task": ("shop.pay", RECORDED),
    "not a body of a task": (EXECUTE, "text"),
    "no keywords": (EXECUTE, ([], None, {})),
}
UNACKED = ("unacked", "unacked_index")


@pytest.fixture
def connection(redis_url: str) -> Iterator[Connection]:
    with Connection(redis_url) as connection:
        yield connection


@pytest.fixture
def channel(connection: Connection) -> Any:
    channel: Any = connection.channel()
    channel.basic_qos(0, 2, False)
    ledger_acks.install(channel)
    return channel


def receive(connection: Connection, channel: Any, task: str, body: Any) -> Any:
    """Send a message to the queue, and receive one."""
    with connection.Producer() as producer:
        producer.publish(
            body, exchange=QUEUE.exchange, routing_key=QUEUE.routing_key, declare=[QUEUE], headers={"task": task}
        )
    return QUEUE(channel).get()


def test_message_of_a_recorded_test_is_counted_and_not_stored_again(
    connection: Connection, channel: Any, redis_client: redis.Redis
) -> None:
    first = receive(connection, channel, EXECUTE, RECORDED)
    assert channel.qos.prefetch_count == 2
    assert channel.qos.can_consume()
    second = receive(connection, channel, EXECUTE, RECORDED)
    assert not channel.qos.can_consume()
    assert not redis_client.exists(*UNACKED)
    commands = redis_client.info("stats")["total_commands_processed"]
    first.ack()
    second.reject()
    assert redis_client.info("stats")["total_commands_processed"] == commands + 1, "the command INFO itself"
    assert channel.qos.can_consume()
    assert redis_client.llen("tests") == 0


@pytest.mark.parametrize("kind", OTHERS)
def test_other_messages_are_acknowledged_as_kombu_does(
    connection: Connection, channel: Any, redis_client: redis.Redis, kind: str
) -> None:
    message = receive(connection, channel, *OTHERS[kind])
    assert redis_client.hlen("unacked") == redis_client.zcard("unacked_index") == 1
    message.ack()
    assert not redis_client.exists(*UNACKED)
    message = receive(connection, channel, *OTHERS[kind])
    message.reject(requeue=True)
    assert not redis_client.exists(*UNACKED)
    assert redis_client.llen("tests") == 1


def test_rejected_message_returns_to_its_queue(connection: Connection, channel: Any, redis_client: redis.Redis) -> None:
    receive(connection, channel, EXECUTE, RECORDED).requeue()
    assert redis_client.llen("tests") == 1
    assert QUEUE(channel).get().payload[1] == RECORDED[1]


def test_messages_return_to_their_queues_when_the_channel_is_closed(
    connection: Connection, channel: Any, redis_client: redis.Redis
) -> None:
    receive(connection, channel, EXECUTE, RECORDED).ack()
    receive(connection, channel, EXECUTE, RECORDED)
    receive(connection, channel, *OTHERS["not recorded"])
    assert redis_client.llen("tests") == 0
    channel.close()
    assert redis_client.llen("tests") == 2, "all but the one that was acknowledged"
    assert not redis_client.exists(*UNACKED)


def test_messages_return_before_those_that_wait_in_the_queue(
    connection: Connection, channel: Any, redis_client: redis.Redis
) -> None:
    for number in range(2):
        receive(connection, channel, EXECUTE, ([number], *RECORDED[1:]))
    with connection.Producer() as producer:
        producer.publish(([2], *RECORDED[1:]), routing_key="tests", exchange=QUEUE.exchange, headers={"task": EXECUTE})
    channel.close()
    another: Any = connection.channel()
    assert [QUEUE(another).get(no_ack=True).payload[0] for _ in range(3)] == [[0], [1], [2]]


@pytest.mark.parametrize("error", [redis.ConnectionError("refused"), AttributeError("no attribute 'hostname'")])
def test_channel_that_cannot_return_messages_is_closed(
    connection: Connection, channel: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Kombu asks its connection for the host, and raises an AttributeError if that was closed before."""

    def fail(*_: Any) -> None:
        raise error

    receive(connection, channel, EXECUTE, RECORDED)
    monkeypatch.setattr(channel, "conn_or_acquire", fail)
    channel.close()
    assert channel.closed


def test_only_channels_of_redis_are_changed(channel: Any) -> None:
    with Connection("memory://") as memory:
        other: Any = memory.channel()
        before = other.qos
        ledger_acks.install(other)
        assert other.qos is before
    changed = channel.qos
    changed.can_consume = lambda: False  # as Celery does with worker_disable_prefetch
    ledger_acks.install(channel)
    assert channel.qos is changed
    assert type(changed) is LedgerQoS
    assert not changed.can_consume()
    assert issubclass(LedgerQoS, QoS)
