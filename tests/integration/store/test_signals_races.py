"""Signals with many concurrent senders and listeners: none is lost between reading and listening."""

from collections.abc import Iterator

import pytest
import redis

from livecheck_celery.config import Settings
from livecheck_celery.models import EVENT, SignalEvent
from livecheck_celery.store import Store
from livecheck_celery.store.keys import inbox
from tests.helpers.connected_stores import connected_stores
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_signal, make_test
from tests.helpers.waiting import at_once

SENDERS = 40


@pytest.fixture
def stores(settings: Settings) -> Iterator[list[Store]]:
    with connected_stores(settings, SENDERS + 1) as stores:
        yield stores


def announced(client: redis.Redis, address: str) -> Iterator[list[SignalEvent]]:
    """Yield an empty list when subscribed to ``address``; then what was published since."""
    with client.pubsub() as channel:
        channel.subscribe(inbox("livecheck", address))
        message = channel.get_message(timeout=5)
        assert message is not None
        assert message["type"] == "subscribe"
        yield []
        found = []
        while (message := channel.get_message(timeout=0.3)) is not None:
            found.append(EVENT.validate_json(message["data"]))
        yield found


@pytest.mark.parametrize("how", ["claim", "listen"])
def test_each_signal_is_either_in_the_reply_or_published(
    stores: list[Store], redis_client: redis.Redis, how: str
) -> None:
    listening = announced(redis_client, "here")
    next(listening)

    def act(number: int) -> dict[str, SignalEvent]:
        store = stores[number]
        if number < SENDERS:
            store.signals.send(make_signal(f"s{number}", value=str(number)), ttl=60)
            return {}
        if how == "listen":
            return store.signals.listen(CASE, "id-1", "here", ttl=60)
        return claim(store, make_test(), address="here").signals

    in_reply = at_once(SENDERS + 1, act)[-1]
    published = {event.signal_name: event for event in next(listening)}
    assert set(in_reply) | set(published) == {f"s{number}" for number in range(SENDERS)}
    assert not set(in_reply) & set(published)
    stored = stores[0].signals.awaited([(CASE, "id-1", [f"s{number}" for number in range(SENDERS)])])[0]
    assert stored == in_reply | published
    assert stores[0].signals.listen(CASE, "id-1", "here", ttl=60) == stored


def test_every_listener_receives_every_signal(stores: list[Store], redis_client: redis.Redis) -> None:
    channels = [announced(redis_client, address) for address in ("a", "b", "c")]
    for address, channel in zip("abc", channels, strict=True):
        next(channel)
        stores[0].signals.listen(CASE, "id-1", address, ttl=60)
    at_once(SENDERS, lambda number: stores[number].signals.send(make_signal(f"s{number}"), ttl=60))
    for channel in channels:
        assert sorted(event.signal_name for event in next(channel)) == sorted(f"s{n}" for n in range(SENDERS))


def test_listener_still_receives_signals_after_the_verdict_of_another(
    stores: list[Store], redis_client: redis.Redis
) -> None:
    first, second = announced(redis_client, "runner"), announced(redis_client, "watcher")
    next(first)
    next(second)
    store, test = stores[0], make_test()
    claim(store, test, address="runner")
    store.signals.listen(CASE, "id-1", "watcher", ttl=60)
    judge(store, test)
    store.signals.send(make_signal(), ttl=60)
    assert next(first) == []
    assert [event.signal_name for event in next(second)] == ["order_sent"]


def test_value_of_one_mebibyte_arrives_whole(store: Store) -> None:
    value = '"' + "é" * 524_288 + '"'
    store.signals.send(make_signal(value=value), ttl=60)
    assert store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"].value == value
