"""The registry of cases, and the shared configuration that every process reads."""

import logging

import pytest
import redis

from livecheck_celery.delivery.shared_config import Watch
from livecheck_celery.errors import InvalidPayload, RedisUnavailable
from livecheck_celery.store import Store

SETTINGS = {"probability": 0.5, "sources": {"stored": ["task", "orders.store"]}}


def test_registered_cases_are_listed_by_name_with_their_last_settings(store: Store) -> None:
    store.registry.register("b", {"probability": 0.5, "frequency": None})
    store.registry.register("a", {"probability": 1.0})
    store.registry.register("a", {"probability": 0.1})
    assert list(store.registry.cases().items()) == [
        ("a", {"probability": 0.1}),
        ("b", {"probability": 0.5, "frequency": None}),
    ]


def test_settings_that_are_not_json_are_refused_with_the_case_named(store: Store) -> None:
    with pytest.raises(InvalidPayload, match="a: the settings are not JSON"):
        store.registry.register("a", {"base": object()})


@pytest.mark.parametrize("text", ["{not json", "3", '["ab"]x'])
def test_unreadable_case_is_left_out_and_logged(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store.registry.register("good", {})
    redis_client.hset(store.keys.cases, "bad", text)
    with caplog.at_level(logging.WARNING):
        assert store.registry.cases() == {"good": {}}
    assert "livecheck:{cases}:settings, field bad" in caplog.text


def test_snapshot_has_the_sources_of_registered_cases_and_a_revision(store: Store) -> None:
    store.registry.register("shop.test_order", SETTINGS)
    store.registry.register("shop.test_other", {"probability": 1.0})
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.sources == {"shop.test_order": {"stored": ("task", "orders.store")}}
    assert store.registry.cases().keys() == {"shop.test_order", "shop.test_other"}
    assert store.registry.snapshot(snapshot.revision) is None, "unchanged"

    store.registry.register("shop.test_order", SETTINGS)
    assert store.registry.snapshot(snapshot.revision) is None, "registered again, unchanged"
    store.registry.register("shop.test_order", {})
    later = store.registry.snapshot(snapshot.revision)
    assert later is not None
    assert later.sources == {}


def test_snapshot_has_an_override_until_it_is_removed(store: Store) -> None:
    assert store.registry.snapshot("none") is not None
    store.registry.override("c", {"active": False, "probability": 0.25})
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.overrides == {"c": {"active": False, "probability": 0.25}}
    store.registry.override("c", {})
    later = store.registry.snapshot(snapshot.revision)
    assert later is not None
    assert later.overrides == {}


def test_watch_drops_overrides_when_redis_lost_its_data(store: Store, redis_client: redis.Redis) -> None:
    store.registry.override("c", {"active": False})
    watch = Watch(store, print)
    watch.refresh()
    assert watch.overrides == {"c": {"active": False}}
    redis_client.flushall()
    watch.refresh()
    assert watch.overrides == {}


def test_unreadable_shared_configuration_is_an_error_with_its_key(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.shared, mapping={"override:c": "junk", "revision": "1"})
    with pytest.raises(InvalidPayload, match=r"livecheck:\{cases\}:shared"):
        store.registry.snapshot()


def test_listener_that_fails_does_not_affect_the_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    watch, heard = Watch(store, print), []

    def fail(watch: Watch) -> None:
        if watch.overrides:
            raise ZeroDivisionError

    watch.listen(fail)
    watch.listen(lambda watch: heard.append(dict(watch.overrides)))
    store.registry.override("c", {"active": False})
    watch.refresh()
    watch.refresh()
    assert heard == [{}, {"c": {"active": False}}], "once now, once at the change"
    assert "could not be followed" in caplog.text


def test_data_loss_is_reported_once(store: Store, redis_client: redis.Redis) -> None:
    lost: list[dict[str, object]] = []
    watch = Watch(store, lambda watch: lost.append(dict(watch.overrides)))
    watch.refresh()
    store.registry.register("c", SETTINGS)
    store.registry.override("c", {"active": False})
    watch.refresh()
    store.registry.register("d", {})
    store.registry.override("c", {"active": True})
    watch.refresh()
    assert lost == [], "a change is not a data loss"
    redis_client.flushall()
    for _ in range(2):
        watch.refresh()
    assert lost == [{"c": {"active": True}}]
    assert watch.overrides == {}
    assert watch.wanted is not None
    assert watch.wanted.names("task") == {"orders.store"}, "sources stay until a worker registers its cases again"
    store.registry.register("c", {})
    watch.refresh()
    assert watch.wanted.names("task") == set()
    assert len(lost) == 1


def test_data_loss_is_noticed_after_another_process_registered_again(store: Store, redis_client: redis.Redis) -> None:
    lost: list[Watch] = []
    store.registry.register("c", {})
    watch = Watch(store, lost.append)
    watch.refresh()
    redis_client.flushall()
    store.registry.register("c", {})
    watch.refresh()
    watch.refresh()
    assert lost == [watch]


def test_data_loss_is_reported_again_if_its_handler_failed(store: Store, redis_client: redis.Redis) -> None:
    tries: list[Watch] = []

    def register_again(watch: Watch) -> None:
        tries.append(watch)
        if len(tries) == 1:
            raise RedisUnavailable("unavailable again")

    store.registry.register("c", {})
    watch = Watch(store, register_again)
    watch.refresh()
    redis_client.flushall()
    with pytest.raises(RedisUnavailable):
        watch.refresh()
    watch.refresh()
    watch.refresh()
    assert len(tries) == 2
