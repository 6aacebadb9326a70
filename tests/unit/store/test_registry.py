"""The registry of cases, and the shared configuration that every process reads."""

import logging

import pytest
import redis

from livecheck_celery.delivery.shared_config import SharedConfig
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
    shared_config = SharedConfig(store, print)
    shared_config.refresh()
    assert shared_config.overrides == {"c": {"active": False}}
    redis_client.flushall()
    shared_config.refresh()
    assert shared_config.overrides == {}


def test_unreadable_shared_configuration_is_an_error_with_its_key(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.shared, mapping={"override:c": "junk", "revision": "1"})
    with pytest.raises(InvalidPayload, match=r"livecheck:\{cases\}:shared"):
        store.registry.snapshot()


def test_listener_that_fails_does_not_affect_the_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    shared_config, heard = SharedConfig(store, print), []

    def fail(shared_config: SharedConfig) -> None:
        if shared_config.overrides:
            raise ZeroDivisionError

    shared_config.listen(fail)
    shared_config.listen(lambda shared_config: heard.append(dict(shared_config.overrides)))
    store.registry.override("c", {"active": False})
    shared_config.refresh()
    shared_config.refresh()
    assert heard == [{}, {"c": {"active": False}}], "once now, once at the change"
    assert "failed to apply a change" in caplog.text


def test_data_loss_is_reported_once(store: Store, redis_client: redis.Redis) -> None:
    lost: list[dict[str, object]] = []
    shared_config = SharedConfig(store, lambda shared_config: lost.append(dict(shared_config.overrides)))
    shared_config.refresh()
    store.registry.register("c", SETTINGS)
    store.registry.override("c", {"active": False})
    shared_config.refresh()
    store.registry.register("d", {})
    store.registry.override("c", {"active": True})
    shared_config.refresh()
    assert lost == [], "a change is not a data loss"
    redis_client.flushall()
    for _ in range(2):
        shared_config.refresh()
    assert lost == [{"c": {"active": True}}]
    assert shared_config.overrides == {}
    assert shared_config.sources is not None
    assert shared_config.sources.names("task") == {"orders.store"}, (
        "sources stay until a worker registers its cases again"
    )
    store.registry.register("c", {})
    shared_config.refresh()
    assert shared_config.sources.names("task") == set()
    assert len(lost) == 1


def test_data_loss_is_noticed_after_another_process_registered_again(store: Store, redis_client: redis.Redis) -> None:
    lost: list[SharedConfig] = []
    store.registry.register("c", {})
    shared_config = SharedConfig(store, lost.append)
    shared_config.refresh()
    redis_client.flushall()
    store.registry.register("c", {})
    shared_config.refresh()
    shared_config.refresh()
    assert lost == [shared_config]


def test_data_loss_is_reported_again_if_its_handler_failed(store: Store, redis_client: redis.Redis) -> None:
    tries: list[SharedConfig] = []

    def register_again(shared_config: SharedConfig) -> None:
        tries.append(shared_config)
        if len(tries) == 1:
            raise RedisUnavailable("unavailable again")

    store.registry.register("c", {})
    shared_config = SharedConfig(store, register_again)
    shared_config.refresh()
    redis_client.flushall()
    with pytest.raises(RedisUnavailable):
        shared_config.refresh()
    shared_config.refresh()
    shared_config.refresh()
    assert len(tries) == 2
