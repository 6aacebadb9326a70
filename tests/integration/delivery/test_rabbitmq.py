"""RabbitMQ as the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection, Queue

from livecheck_celery import Case, LiveCheck
from livecheck_celery.errors import BrokerUnavailable
from tests.helpers.factories import make_test
from tests.helpers.rabbitmq import RabbitMQ


@pytest.fixture
def queue(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """The name of a queue used only by this test."""
    name = f"livecheck-{uuid4().hex}"
    yield name
    with Connection(rabbitmq_server.url) as connection:
        connection.default_channel.queue_delete(name)


@pytest.fixture
def livecheck(rabbitmq_server: RabbitMQ, redis_url: str, queue: str) -> Iterator[LiveCheck]:
    app = Celery("shop", broker=rabbitmq_server.url, set_as_current=False)
    livecheck = LiveCheck(app, redis_url=redis_url, queue=queue)
    yield livecheck
    livecheck.close()


def test_trigger_raises_within_a_second_when_rabbitmq_is_frozen(
    livecheck: LiveCheck, rabbitmq_server: RabbitMQ
) -> None:
    case = livecheck.add_case(type("test_order", (Case,), {}))
    case.trigger()
    rabbitmq_server.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="did not accept the message for .*; is it running"):
            case.trigger()
        assert time.monotonic() - started < 1.0
    finally:
        rabbitmq_server.thaw()
    case.trigger()


def test_conflicting_queue_declaration_is_an_error_that_names_the_setting(livecheck: LiveCheck) -> None:
    livecheck.runtime.publisher.execute(make_test())
    other = LiveCheck(
        Celery("other", broker=livecheck.settings.broker_url, set_as_current=False),
        redis_url=livecheck.settings.redis_url,
        queue=livecheck.settings.queue,
    )
    other.app.conf.task_queues = [Queue(livecheck.settings.queue, queue_arguments={"x-queue-type": "quorum"})]
    with pytest.raises(BrokerUnavailable, match=r"PRECONDITION_FAILED.*; every process .* must set"):
        other.runtime.publisher.execute(make_test())
    other.close()
