"""What goes from the cases to every process."""

import pytest
import redis

from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.errors import InvalidPayload, RedisUnavailable
from livecheck_celery.store import Store

SETTINGS = {"probability": 0.5, "sources": {"stored": ["task", "orders.store"]}}


def test_what_resolves_signals_is_known_to_all(store: Store) -> None:
    store.registry.register("shop.test_order", SETTINGS)
    store.registry.register("shop.test_other", {"probability": 1.0})
    wired = store.registry.snapshot()
    assert wired is not None
    assert wired.sources == {"shop.test_order": {"stored": ("task", "orders.store")}}
    assert store.registry.cases().keys() == {"shop.test_order", "shop.test_other"}
    assert store.registry.snapshot(wired.revision) is None, "nothing new"

    store.registry.register("shop.test_order", SETTINGS)
    assert store.registry.snapshot(wired.revision) is None, "the same again is nothing new"
    store.registry.register("shop.test_order", {})
    later = store.registry.snapshot(wired.revision)
    assert later is not None
    assert later.sources == {}


def test_overrides_are_known_to_all_until_they_are_taken_back(store: Store) -> None:
    assert store.registry.snapshot("none") is not None
    store.registry.override("c", {"active": False, "probability": 0.25})
    wired = store.registry.snapshot()
    assert wired is not None
    assert wired.overrides == {"c": {"active": False, "probability": 0.25}}
    store.registry.override("c", {})
    later = store.registry.snapshot(wired.revision)
    assert later is not None
    assert later.overrides == {}


def test_a_server_that_lost_everything_is_news(store: Store, redis_client: redis.Redis) -> None:
    store.registry.override("c", {"active": False})
    shared_config = SharedConfig(store, print)
    shared_config.refresh()
    assert shared_config.overrides == {"c": {"active": False}}
    redis_client.flushall()
    shared_config.refresh()
    assert shared_config.overrides == {}


def test_wiring_that_cannot_be_read_names_its_key(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.shared, mapping={"override:c": "junk", "revision": "1"})
    with pytest.raises(InvalidPayload, match=r"livecheck:\{cases\}:shared"):
        store.registry.snapshot()


def test_counts_add_up_for_a_day(store: Store, redis_client: redis.Redis) -> None:
    assert store.counters.read().counts == {}
    store.counters.add({"dropped: full": 2})
    store.counters.add({"dropped: full": 1, "headers ignored: forged": 5})
    tallied = store.counters.read()
    assert tallied.counts == {"dropped: full": 3, "headers ignored: forged": 5}
    assert 0 <= tallied.age < 60
    assert 0 < redis_client.ttl(store.keys.counters) <= 24 * 3600


def test_one_listener_that_fails_does_not_keep_the_others_from_hearing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_server_that_lost_everything_is_told_of_once(store: Store, redis_client: redis.Redis) -> None:
    lost: list[dict[str, object]] = []
    shared_config = SharedConfig(store, lambda shared_config: lost.append(dict(shared_config.overrides)))
    shared_config.refresh()
    store.registry.register("c", SETTINGS)
    store.registry.override("c", {"active": False})
    shared_config.refresh()
    store.registry.register("d", {})
    store.registry.override("c", {"active": True})
    shared_config.refresh()
    assert lost == [], "changes are no loss"
    redis_client.flushall()
    for _ in range(2):
        shared_config.refresh()
    assert lost == [{"c": {"active": True}}]
    assert shared_config.overrides == {}
    assert shared_config.sources is not None
    assert shared_config.sources.names("task") == {"orders.store"}, (
        "the old sources stay until a worker registers again"
    )
    store.registry.register("c", {})
    shared_config.refresh()
    assert shared_config.sources.names("task") == set()
    assert len(lost) == 1


def test_a_loss_is_noticed_when_others_have_begun_again_already(store: Store, redis_client: redis.Redis) -> None:
    lost: list[SharedConfig] = []
    store.registry.register("c", {})
    shared_config = SharedConfig(store, lost.append)
    shared_config.refresh()
    redis_client.flushall()
    store.registry.register("c", {})
    shared_config.refresh()
    shared_config.refresh()
    assert lost == [shared_config]


def test_who_cannot_begin_again_now_does_so_later(store: Store, redis_client: redis.Redis) -> None:
    tries: list[SharedConfig] = []

    def begin_again(shared_config: SharedConfig) -> None:
        tries.append(shared_config)
        if len(tries) == 1:
            raise RedisUnavailable("away again")

    store.registry.register("c", {})
    shared_config = SharedConfig(store, begin_again)
    shared_config.refresh()
    redis_client.flushall()
    with pytest.raises(RedisUnavailable):
        shared_config.refresh()
    shared_config.refresh()
    shared_config.refresh()
    assert len(tries) == 2
