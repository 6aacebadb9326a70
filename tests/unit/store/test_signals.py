"""Signals, one caller at a time: stored, read, published."""

from typing import Self

import pytest
import redis

from livecheck_celery.config import Settings
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import EVENT
from livecheck_celery.store import Store
from livecheck_celery.store.keys import inbox
from livecheck_celery.store.redis.client import no_retry
from tests.helpers.executions import claim
from tests.helpers.factories import CASE, make_signal, make_test
from tests.helpers.waiting import wait_until


def test_signal_sent_before_listening_is_returned(store: Store) -> None:
    before = store.time()
    store.signals.send(make_signal(value='{"nested": ["}", null]}'), ttl=60)
    found = store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"]
    assert found == make_signal(value='{"nested": ["}", null]}').__class__(
        "order_sent", CASE, "id-1", '{"nested": ["}", null]}', None, found.received_at
    )
    assert found.received_at is not None
    assert before <= found.received_at <= store.time()


def test_later_signal_replaces_the_earlier_one_of_the_same_name(store: Store) -> None:
    store.signals.send(make_signal(value="1"), ttl=60)
    store.signals.send(make_signal(value="2"), ttl=60)
    assert store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"].value == "2"


def test_error_of_the_sender_arrives_with_the_signal(store: Store) -> None:
    event = EVENT.validate_python({**vars(make_signal()), "value": "null", "error": "over the limit"})
    store.signals.send(event, ttl=60)
    assert store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"].error == "over the limit"


def test_signal_is_published_only_to_processes_that_listen(store: Store, redis_client: redis.Redis) -> None:
    with redis_client.pubsub(ignore_subscribe_messages=True) as here, redis_client.pubsub() as elsewhere:
        here.subscribe(inbox("livecheck", "here"), inbox("livecheck", "claimer"))
        elsewhere.subscribe(inbox("livecheck", "elsewhere"))
        elsewhere.get_message(timeout=1)
        store.signals.listen(CASE, "id-1", "here", ttl=60)
        claim(store, make_test(), address="claimer")
        store.signals.listen(CASE, "another test", "elsewhere", ttl=60)
        store.signals.send(make_signal(), ttl=60)
        messages = [message for _ in range(4) if (message := here.get_message(timeout=0.2))]
        assert {message["channel"] for message in messages} == {"livecheck:inbox:here", "livecheck:inbox:claimer"}
        stored = store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"]
        assert [EVENT.validate_json(message["data"]) for message in messages] == [stored, stored]
        assert elsewhere.get_message(timeout=0.05) is None


def test_awaited_signals_are_read_in_the_order_of_the_request(store: Store) -> None:
    store.signals.send(make_signal("a", value="1"), ttl=60)
    store.signals.send(make_signal("b", value="2", key="id-2"), ttl=60)
    store.signals.send(make_signal("c", value="3", key="id-2"), ttl=60)
    found = store.signals.awaited([(CASE, "id-1", ["a", "b"]), (CASE, "none", ["a"]), (CASE, "id-2", ["c"])])
    assert [{name: event.value for name, event in events.items()} for events in found] == [{"a": "1"}, {}, {"c": "3"}]
    assert store.signals.awaited([]) == []


def test_unreadable_signal_becomes_an_event_with_an_error(store: Store, redis_client: redis.Redis) -> None:
    store.signals.send(make_signal("good"), ttl=60)
    redis_client.hset(store.keys.signals(CASE, "id-1"), "bad", "{not json")
    found = store.signals.listen(CASE, "id-1", "here", ttl=60)
    assert found["good"].error is None
    assert found["bad"].error is not None
    assert "livecheck:{shop.test_order}:signals:id-1" in found["bad"].error
    assert store.signals.awaited([(CASE, "id-1", ["bad"])]) == [{"bad": found["bad"]}]


def test_signals_are_kept_for_at_least_a_minute_and_a_shorter_ttl_is_ignored(
    store: Store, redis_client: redis.Redis
) -> None:
    key = store.keys.signals(CASE, "id-1")
    store.signals.send(make_signal(), ttl=1)
    assert 58 <= redis_client.ttl(key) <= 60
    store.signals.listen(CASE, "id-1", "here", ttl=600)
    store.signals.send(make_signal("b"), ttl=70)
    assert 598 <= redis_client.ttl(key) <= 600


def test_subscription_receives_published_signals_and_pongs(store: Store) -> None:
    with store.signals.subscription("here") as subscription:
        assert wait_until(lambda: subscription.receive(0.1)) == ("subscribed", "")
        store.signals.listen(CASE, "id-1", "here", ttl=60)
        store.signals.send(make_signal(value="1"), ttl=60)
        kind, event = wait_until(lambda: subscription.receive(0.1))
        assert (kind, EVENT.validate_json(event).value) == ("signal", "1")
        assert subscription.receive(0.01) is None
        subscription.ping()
        assert wait_until(lambda: subscription.receive(0.1)) == ("pong", "")


class BrokenPubSub:
    """A subscription whose connection breaks at the first use after subscribing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def subscribe(self, channel: str) -> None: ...

    def get_message(self, timeout: float) -> None:
        raise redis.ConnectionError("closed")

    def ping(self) -> None:
        raise redis.ConnectionError("closed")


def test_broken_subscription_is_redis_unavailable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.client, "pubsub", BrokenPubSub)
    with store.signals.subscription("here") as subscription:
        for act in (lambda: subscription.receive(0.1), subscription.ping):
            with pytest.raises(RedisUnavailable, match=r"did not answer \(closed\)"):
                act()


def test_subscription_that_cannot_be_opened_is_redis_unavailable(settings: Settings) -> None:
    with redis.Redis(port=1, retry=no_retry()) as nowhere:
        store = Store(settings, nowhere)
        with pytest.raises(RedisUnavailable, match="did not answer"), store.signals.subscription("here"):
            pass
