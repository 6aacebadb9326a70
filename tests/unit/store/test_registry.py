"""The registry of cases, and the shared configuration that every process reads."""

import json
import logging

import pytest
import redis

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.store import Store
from livecheck_celery.store.registry import Snapshot
from livecheck_celery.utils.signing import key_id
from tests.helpers.factories import make_settings

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


# -- signed values

KEY, OTHER_KEY = "k" * 32, "o" * 32
EVIL = {"value": 1.0, "at": 1.0}


def store_with(client: redis.Redis, *keys: str, prefix: str = "livecheck") -> Store:
    return Store(make_settings("redis://fake:6379/0", secret_key=keys, prefix=prefix), client)


def read(store: Store) -> Snapshot:
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    return snapshot


def test_sources_and_overrides_are_signed_and_read_with_any_of_the_keys(redis_client: redis.Redis) -> None:
    writer = store_with(redis_client, KEY)
    writer.registry.register("c", SETTINGS)
    writer.registry.override("c", {"active": False, "probability": 0.25}, by="ada", expires_in=60)
    stored = redis_client.hgetall(writer.keys.shared)
    signed = ["override:active:c", "override:probability:c", "sources:c"]
    signatures = {field: value for field, value in stored.items() if value.startswith(f"{key_id(KEY)}.")}
    assert sorted(signatures) == [f"signature:{field}" for field in signed]
    assert all(json.loads(stored[field]) for field in signed), "earlier versions read JSON"
    for reader in (writer, store_with(redis_client, OTHER_KEY, KEY), store_with(redis_client)):
        found = read(reader)
        assert found.sources == {"c": {"stored": ("task", "orders.store")}}
        assert found.overrides == {"c": {"active": False, "probability": 0.25}}
        assert found.notes["c"]["active"].by == "ada"
        assert found.refused == {}


def test_reader_with_a_key_ignores_what_is_unsigned_or_signed_with_another_key(redis_client: redis.Redis) -> None:
    reader = store_with(redis_client, KEY)
    store_with(redis_client).registry.override("a", {"probability": 1.0})
    store_with(redis_client, OTHER_KEY).registry.override("b", {"probability": 1.0})
    store_with(redis_client, OTHER_KEY).registry.register("c", SETTINGS)
    reader.registry.override("d", {"active": False})
    found = read(reader)
    assert (found.overrides, found.sources) == ({"d": {"active": False}}, {})
    assert found.refused == {
        "override:probability:a": "unsigned",
        "override:probability:b": "forged",
        "sources:c": "forged",
    }


def test_value_cannot_be_moved_changed_or_brought_back_after_its_end(redis_client: redis.Redis) -> None:
    """The ways to make another value of a signed one."""
    store = store_with(redis_client, KEY)
    shared = store.keys.shared
    store.registry.override("c", {"probability": 0.5}, expires_in=60)
    text = str(redis_client.hget(shared, "override:probability:c"))
    signature = str(redis_client.hget(shared, "signature:override:probability:c"))
    other = store_with(redis_client, KEY, prefix="staging")
    redis_client.hset(other.keys.shared, mapping=redis_client.hgetall(shared))
    assert read(other).refused == {"override:probability:c": "forged"}
    redis_client.delete(other.keys.shared)
    forgeries = {
        "override:probability:d": (text, signature),
        "override:active:c": (text, signature),
        "sources:c": (text, signature),
        "override:probability:e": (json.dumps(EVIL), signature),
        "override:probability:f": (text, f"{signature.partition('.')[0]}."),
        "override:probability:g": (text, signature * 2),
        "override:probability:i": (text, "\u00e9.x"),
        "override:probability:j": (text, " "),
        "override:probability:k": ("", signature),
        "override:probability:l": (text, ""),
    }
    for field, (value, made_up) in forgeries.items():
        redis_client.hset(shared, mapping={field: value, f"signature:{field}": made_up, "revision": "1"})
    found = read(store)
    assert found.overrides == {"c": {"probability": 0.5}}
    assert found.refused.keys() == forgeries.keys()

    past = json.dumps({"value": 1.0, "at": 1.0, "by": "", "reason": "", "expires_at": 2.0})
    field = "override:probability:c"
    again = {field: past, f"signature:{field}": store.registry._signature(field, past), "revision": "2"}
    redis_client.hset(shared, mapping=again)
    redis_client.hdel(shared, "next_expiry")
    assert read(store).overrides == {}, "an override that has expired stays so, also if somebody writes it again"


def test_scripts_merge_remove_and_forget_signed_overrides_without_the_key(redis_client: redis.Redis) -> None:
    store = store_with(redis_client, KEY)
    store.registry.register("c", SETTINGS)
    store.registry.override("c", {"active": False})
    store.registry.override("a:c", {"active": False})
    store.registry.override("c", {"probability": 0.5}, merge=True)
    assert read(store).overrides["c"] == {"active": False, "probability": 0.5}
    store.registry.override("c", {"active": True})
    assert read(store).overrides == {"c": {"active": True}, "a:c": {"active": False}}
    store.registry.forget("c", [])
    assert read(store).overrides == {"a:c": {"active": False}}
    assert read(store).refused == {}
