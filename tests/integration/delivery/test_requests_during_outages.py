"""A request under test during an outage: nothing is raised, nothing blocks, and delivery resumes after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from amqp.exceptions import NotFound
from celery import Celery
from kombu import Connection

from livecheck_celery import Case, LiveCheck, Signal, current_test
from livecheck_celery.delivery.outbox import UNCONFIRMED, Outbox, Servers
from livecheck_celery.store import Store
from tests.helpers.no_network import no_network_io
from tests.helpers.outages import REDIS, ROWS, Place, Row, frozen_server
from tests.helpers.rabbitmq import RabbitMQ
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

REQUESTS = 50
#: Seconds: far more than these requests take, and far less than if each one waited for a server.
NOT_BLOCKED = 5.0
#: Seconds from the end of an outage.
RECOVERS_WITHIN = 2.0


def make(redis_url: str, broker_url: str | None = None, result_backend: str | None = None) -> Any:
    """A case in an application that has just started."""
    app = Celery("shop", broker=broker_url or redis_url, backend=result_backend, set_as_current=False)
    livecheck = LiveCheck(app, redis_url=redis_url)

    @livecheck.case(name=f"shop.{uuid4().hex}", probability=1.0)  # log lines are throttled for each case
    class test_order(Case):
        sent: Signal[str]

    return test_order


def request(case: Any, test_id: str) -> None:
    """Trigger a test and send a signal, as a user's request does."""
    with case.maybe_trigger(test_id, side="buy") as test:
        assert test is not None
        assert current_test() is test
        case.sent.send("x")
    assert current_test() is None


class Arrivals:
    """The records, signals and messages that have arrived."""

    def __init__(self, place: Place, store: Store) -> None:
        self._place = place
        self._store = store
        self._messages: set[str] = set()

    def has(self, case: Any, test_id: str) -> bool:
        client, keys = self._store.client, self._store.keys
        if not client.exists(keys.test(case.name, test_id)) or not client.hexists(
            keys.signals(case.name, test_id), "sent"
        ):
            return False
        self._fetch()
        return test_id in self._messages

    def _fetch(self) -> None:
        with Connection(self._place.broker_url) as connection, suppress(NotFound):
            channel = connection.default_channel
            while message := channel.basic_get("livecheck", no_ack=True):
                self._messages.add(channel.message_to_python(message).payload[1]["livecheck_test"]["id"])


@pytest.fixture
def rabbit(request: pytest.FixtureRequest) -> Callable[[], RabbitMQ]:
    """RabbitMQ, started when a row needs it."""
    return lambda: request.getfixturevalue("rabbitmq_server")


def warnings_of_outbox(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "livecheck_celery.delivery.outbox"]


@pytest.mark.promise(
    "`maybe_trigger()` and `send()` never raise, and touch no socket on the calling thread, in any state of Redis, the "
    "broker and the result backend; within 2 s of the end of an outage, tests are delivered again.",
    theme="requests",
)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_request_is_unaffected_by_the_outage(
    row: Row, rabbit: Callable[[], RabbitMQ], caplog: pytest.LogCaptureFixture
) -> None:
    with row(rabbit) as place:
        warm = make(place.redis_url, place.broker_url, place.result_backend)
        arrivals = Arrivals(place, Store(warm.app.settings))
        request(warm, "before")
        wait_until(lambda: arrivals.has(warm, "before"), what="the first test, before the outage")
        assert warm.app.flush(), "delivered, so that only other tests fail"

        place.fail()
        cold = make(place.redis_url, place.broker_url, place.result_backend)
        started = time.monotonic()
        for case in (warm, cold):
            with no_network_io():
                for number in range(REQUESTS):
                    request(case, f"{id(case)}-{number}")
        assert time.monotonic() - started < NOT_BLOCKED

        for case in (warm, cold):
            wait_until(case.app.flush, what="the outbox is empty")
            counts = case.app.runtime.outbox.counts
            # A command whose answer is missing may have been executed.
            reasons = {REDIS, UNCONFIRMED} if place.loses == REDIS else {place.loses} if place.loses else set[str]()
            assert counts.keys() <= reasons
            assert bool(counts) == bool(place.loses)
            assert counts[REDIS] + counts[UNCONFIRMED] == (2 * REQUESTS if place.loses == REDIS else 0)
        counted = [
            reason for case in (warm, cold) for reason, number in case.app.runtime.outbox.counts.items() if number
        ]
        assert len(warnings_of_outbox(caplog)) == len(counted), "each reason is logged once by each"

        place.restore()
        ended = time.monotonic()
        for case in (warm, cold):
            wait_until(
                partial(gets_through, arrivals, case, count()), ended + RECOVERS_WITHIN - time.monotonic(), "a new test"
            )
            case.app.close()


def gets_through(arrivals: Arrivals, case: Any, numbers: Iterator[int]) -> bool:
    test_id = f"{id(case)}-after-{next(numbers)}"
    request(case, test_id)
    case.app.flush(0.1)
    return arrivals.has(case, test_id)


class Opaque:
    """An object that JSON cannot represent."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def circular() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


@pytest.mark.parametrize("value", [Opaque(), circular(), {Opaque(): 1}], ids=["object", "circular", "key"])
def test_arguments_that_are_not_json_are_counted_and_logged_once(
    value: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = make(redis_url)
    with no_network_io():
        for number in range(REQUESTS):
            with case.maybe_trigger(f"o-{number}", value, side=value) as test:
                assert test is None
                assert current_test() is None
    assert case.app.runtime.outbox.counts == {"payload": REQUESTS}
    assert len(caplog.records) == 1


def test_signal_value_that_is_not_json_is_sent_as_an_error_and_logged_once(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = make(redis_url)
    with no_network_io(), case.maybe_trigger("o-1"):
        for _ in range(REQUESTS):
            case.sent.send(Opaque())
    assert case.app.flush()
    assert len(caplog.records) == 1
    stored = case.app.runtime.store.client.hget(case.app.runtime.store.keys.signals(case.name, "o-1"), "sent")
    assert "value cannot be sent as JSON" in stored


def test_full_outbox_is_counted_logged_once_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    with embedded() as server, frozen_server(server) as (freeze, thaw):
        case = make(f"{server.connection_url}/0")
        livecheck = case.app
        servers = Servers(livecheck.runtime.store, livecheck.runtime.publisher)
        livecheck.runtime.outbox = Outbox(servers, servers, livecheck.runtime.shared_config, max_items=100)
        freeze()
        with no_network_io():
            for number in range(20 * REQUESTS):
                with case.maybe_trigger(f"o-{number}"):
                    case.sent.send("x", key=f"o-{number}", force=True)
        assert livecheck.runtime.outbox.counts["full"] > REQUESTS
        assert len([line for line in warnings_of_outbox(caplog) if "full" in line]) == 1
        thaw()
        ended = time.monotonic()

        def gets_through() -> bool:
            with case.maybe_trigger() as test:
                pass
            livecheck.flush()
            return test is not None and bool(
                livecheck.runtime.store.client.exists(livecheck.runtime.store.keys.test(case.name, test.id))
            )

        wait_until(gets_through, ended + RECOVERS_WITHIN - time.monotonic(), "a new test")
