"""Signals, one caller at a time: stored, read, announced."""

import redis

from livecheck_celery.models import EVENT
from livecheck_celery.store import Store
from livecheck_celery.store.keys import inbox
from tests.helpers.executions import claim
from tests.helpers.factories import CASE, make_signal, make_test


def test_a_signal_is_there_for_who_listens_later(store: Store) -> None:
    before = store.time()
    store.signals.send(make_signal(value='{"nested": ["}", null]}'), ttl=60)
    found = store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"]
    assert found == make_signal(value='{"nested": ["}", null]}').__class__(
        "order_sent", CASE, "id-1", '{"nested": ["}", null]}', None, found.received_at
    )
    assert found.received_at is not None
    assert before <= found.received_at <= store.time()


def test_of_two_signals_of_one_name_the_later_stands(store: Store) -> None:
    store.signals.send(make_signal(value="1"), ttl=60)
    store.signals.send(make_signal(value="2"), ttl=60)
    assert store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"].value == "2"


def test_a_senders_error_arrives(store: Store) -> None:
    event = EVENT.validate_python({**vars(make_signal()), "value": "null", "error": "over the limit"})
    store.signals.send(event, ttl=60)
    assert store.signals.listen(CASE, "id-1", "here", ttl=60)["order_sent"].error == "over the limit"


def test_signals_are_announced_to_the_processes_that_listen_and_to_no_other(
    store: Store, redis_client: redis.Redis
) -> None:
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


def test_what_is_awaited_is_read_in_one_go_and_in_order(store: Store) -> None:
    store.signals.send(make_signal("a", value="1"), ttl=60)
    store.signals.send(make_signal("b", value="2", key="id-2"), ttl=60)
    store.signals.send(make_signal("c", value="3", key="id-2"), ttl=60)
    found = store.signals.awaited([(CASE, "id-1", ["a", "b"]), (CASE, "none", ["a"]), (CASE, "id-2", ["c"])])
    assert [{name: event.value for name, event in events.items()} for events in found] == [{"a": "1"}, {}, {"c": "3"}]
    assert store.signals.awaited([]) == []


def test_a_signal_that_cannot_be_read_fails_only_who_needs_it(store: Store, redis_client: redis.Redis) -> None:
    store.signals.send(make_signal("good"), ttl=60)
    redis_client.hset(store.keys.signals(CASE, "id-1"), "bad", "{not json")
    found = store.signals.listen(CASE, "id-1", "here", ttl=60)
    assert found["good"].error is None
    assert found["bad"].error is not None
    assert "livecheck:{shop.test_order}:signals:id-1" in found["bad"].error
    assert store.signals.awaited([(CASE, "id-1", ["bad"])]) == [{"bad": found["bad"]}]


def test_signals_live_a_minute_at_least_and_a_shorter_ttl_takes_nothing_away(
    store: Store, redis_client: redis.Redis
) -> None:
    key = store.keys.signals(CASE, "id-1")
    store.signals.send(make_signal(), ttl=1)
    assert 58 <= redis_client.ttl(key) <= 60
    store.signals.listen(CASE, "id-1", "here", ttl=600)
    store.signals.send(make_signal("b"), ttl=70)
    assert 598 <= redis_client.ttl(key) <= 600
