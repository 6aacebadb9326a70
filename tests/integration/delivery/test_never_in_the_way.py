"""A request under test survives every outage: nothing is raised, nothing waits, and afterwards all is as before."""

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
from livecheck_celery.delivery.outbox import Outbox, Servers
from livecheck_celery.store import Store
from tests.helpers.no_network import no_network_io
from tests.helpers.outages import REDIS, ROWS, Place, Row, frozen_server
from tests.helpers.rabbitmq import RabbitMQ
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

REQUESTS = 50
#: Seconds: far above what so many requests take, and far below what they take when each waits for a server.
NO_TIME = 5.0
BACK_WITHIN = 2.0


def make(redis_url: str, broker_url: str | None = None, result_backend: str | None = None) -> Any:
    """A case in an application that has just started."""
    app = Celery("shop", broker=broker_url or redis_url, backend=result_backend, set_as_current=False)
    livecheck = LiveCheck(app, redis_url=redis_url)

    @livecheck.case(name=f"shop.{uuid4().hex}", probability=1.0)  # what is said once is said once of each case
    class test_order(Case):
        sent: Signal[str]

    return test_order


def request(case: Any, test_id: str) -> None:
    """What a request of a user does."""
    with case.maybe_trigger(test_id, side="buy") as test:
        assert test is not None
        assert current_test() is test
        case.sent.send("x")
    assert current_test() is None


class Arrivals:
    """What has arrived, seen from outside: records, signals and messages."""

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
    """RabbitMQ, started when a row asks for it."""
    return lambda: request.getfixturevalue("rabbitmq_server")


def warnings_of_outbox(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "livecheck_celery.delivery.outbox"]


@pytest.mark.promise(
    "`maybe_trigger()` and `send()` never raise, and touch no socket on the calling thread, whatever Redis, the broker "
    "and the result backend do; within 2 s of the end of an outage, tests get through again.",
    theme="requests",
)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_request_survives(row: Row, rabbit: Callable[[], RabbitMQ], caplog: pytest.LogCaptureFixture) -> None:
    with row(rabbit) as place:
        warm = make(place.redis_url, place.broker_url, place.result_backend)
        arrivals = Arrivals(place, Store(warm.app.settings))
        request(warm, "before")
        wait_until(lambda: arrivals.has(warm, "before"), what="the first test, with every server there")
        assert warm.app.flush(), "it is not on its way any more, so that what fails now fails for other tests"

        place.fail()
        cold = make(place.redis_url, place.broker_url, place.result_backend)
        started = time.monotonic()
        for case in (warm, cold):
            with no_network_io():
                for number in range(REQUESTS):
                    request(case, f"{id(case)}-{number}")
        assert time.monotonic() - started < NO_TIME

        for case in (warm, cold):
            wait_until(case.app.flush, what="an end to every attempt")
            assert set(case.app.runtime.outbox.counts) == ({place.loses} if place.loses else set())
            assert case.app.runtime.outbox.dropped == (2 * REQUESTS if place.loses == REDIS else 0)
        assert len(warnings_of_outbox(caplog)) == (2 if place.loses else 0), "said once by each"

        place.mend()
        back = time.monotonic()
        for case in (warm, cold):
            wait_until(
                partial(gets_through, arrivals, case, count()), back + BACK_WITHIN - time.monotonic(), "a new test"
            )
            case.app.close()


def gets_through(arrivals: Arrivals, case: Any, numbers: Iterator[int]) -> bool:
    test_id = f"{id(case)}-after-{next(numbers)}"
    request(case, test_id)
    case.app.flush(0.1)
    return arrivals.has(case, test_id)


class Odd:
    """Not for JSON."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def circle() -> list[Any]:
    one: list[Any] = []
    one.append(one)
    return one


@pytest.mark.parametrize("value", [Odd(), circle(), {Odd(): 1}, "\ud800"], ids=["object", "circle", "key", "surrogate"])
def test_what_is_no_json_is_counted_and_said_once(value: Any, redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    case = make(redis_url)
    with no_network_io():
        for number in range(REQUESTS):
            with case.maybe_trigger(f"o-{number}", value, side=value) as test:
                assert test is None
                assert current_test() is None
    assert case.app.runtime.outbox.counts == {"payload": REQUESTS}
    assert len(caplog.records) == 1


def test_a_signal_whose_value_is_no_json_tells_the_test_and_is_said_once(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = make(redis_url)
    with no_network_io(), case.maybe_trigger("o-1"):
        for _ in range(REQUESTS):
            case.sent.send(Odd())
    assert case.app.flush()
    assert len(caplog.records) == 1
    stored = case.app.runtime.store.client.hget(case.app.runtime.store.keys.signals(case.name, "o-1"), "sent")
    assert "value cannot be sent as JSON" in stored


def test_a_full_outbox_is_counted_and_said_once_and_empties_by_itself(caplog: pytest.LogCaptureFixture) -> None:
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
        back = time.monotonic()

        def gets_through() -> bool:
            with case.maybe_trigger() as test:
                pass
            livecheck.flush()
            return test is not None and bool(
                livecheck.runtime.store.client.exists(livecheck.runtime.store.keys.test(case.name, test.id))
            )

        wait_until(gets_through, back + BACK_WITHIN - time.monotonic(), "a new test")
