"""The registry of cases, and the shared configuration that every process reads."""

import logging

import pytest
import redis

from livecheck_celery.errors import InvalidPayload
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


def test_unreadable_part_of_the_shared_configuration_is_skipped(store: Store, redis_client: redis.Redis) -> None:
    store.registry.override("c", {"active": False})
    fields = {"override:probability:c": "junk", "override:max_history:c": '{"value": 1, "at": 1}', "revision": "1"}
    redis_client.hset(store.keys.shared, mapping=fields)
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.overrides == {"c": {"active": False}}
    assert [place.rpartition(" ")[2] for place in store.unreadable.places] == list(fields)[:2]
