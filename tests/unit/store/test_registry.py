"""What goes from the cases to every process."""

import pytest
import redis

from livecheck_celery.delivery.shared_config import Watch
from livecheck_celery.errors import InvalidPayload, RedisUnavailable
from livecheck_celery.store import Store

SETTINGS = {"probability": 0.5, "sources": {"stored": ["task", "orders.store"]}}


def test_what_resolves_signals_is_known_to_all(store: Store) -> None:
    store.register("shop.test_order", SETTINGS)
    store.register("shop.test_other", {"probability": 1.0})
    wired = store.wired()
    assert wired is not None
    assert wired.sources == {"shop.test_order": {"stored": ("task", "orders.store")}}
    assert store.cases().keys() == {"shop.test_order", "shop.test_other"}
    assert store.wired(wired.revision) is None, "nothing new"

    store.register("shop.test_order", SETTINGS)
    assert store.wired(wired.revision) is None, "the same again is nothing new"
    store.register("shop.test_order", {})
    later = store.wired(wired.revision)
    assert later is not None
    assert later.sources == {}


def test_overrides_are_known_to_all_until_they_are_taken_back(store: Store) -> None:
    assert store.wired("none") is not None
    store.override("c", {"active": False, "probability": 0.25})
    wired = store.wired()
    assert wired is not None
    assert wired.overrides == {"c": {"active": False, "probability": 0.25}}
    store.override("c", {})
    later = store.wired(wired.revision)
    assert later is not None
    assert later.overrides == {}


def test_a_server_that_lost_everything_is_news(store: Store, redis_client: redis.Redis) -> None:
    store.override("c", {"active": False})
    watch = Watch(store, print)
    watch.refresh()
    assert watch.overrides == {"c": {"active": False}}
    redis_client.flushall()
    watch.refresh()
    assert watch.overrides == {}


def test_wiring_that_cannot_be_read_names_its_key(store: Store, redis_client: redis.Redis) -> None:
    redis_client.hset(store.keys.wiring, mapping={"override:c": "junk", "revision": "1"})
    with pytest.raises(InvalidPayload, match=r"livecheck:\{cases\}:wiring"):
        store.wired()


def test_counts_add_up_for_a_day(store: Store, redis_client: redis.Redis) -> None:
    assert store.tallied().counts == {}
    store.tally({"dropped: full": 2})
    store.tally({"dropped: full": 1, "headers ignored: forged": 5})
    tallied = store.tallied()
    assert tallied.counts == {"dropped: full": 3, "headers ignored: forged": 5}
    assert 0 <= tallied.age < 60
    assert 0 < redis_client.ttl(store.keys.tally) <= 24 * 3600


def test_one_listener_that_fails_does_not_keep_the_others_from_hearing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    watch, heard = Watch(store, print), []

    def fail(watch: Watch) -> None:
        if watch.overrides:
            raise ZeroDivisionError

    watch.listen(fail)
    watch.listen(lambda watch: heard.append(dict(watch.overrides)))
    store.override("c", {"active": False})
    watch.refresh()
    watch.refresh()
    assert heard == [{}, {"c": {"active": False}}], "once now, once at the change"
    assert "could not be followed" in caplog.text


def test_a_server_that_lost_everything_is_told_of_once(store: Store, redis_client: redis.Redis) -> None:
    lost: list[dict[str, object]] = []
    watch = Watch(store, lambda watch: lost.append(dict(watch.overrides)))
    watch.refresh()
    store.register("c", SETTINGS)
    store.override("c", {"active": False})
    watch.refresh()
    store.register("d", {})
    store.override("c", {"active": True})
    watch.refresh()
    assert lost == [], "changes are no loss"
    redis_client.flushall()
    for _ in range(2):
        watch.refresh()
    assert lost == [{"c": {"active": True}}]
    assert watch.overrides == {}
    assert watch.wanted is not None
    assert watch.wanted.names("task") == {"orders.store"}, "until a worker says it anew, services tell what they told"
    store.register("c", {})
    watch.refresh()
    assert watch.wanted.names("task") == set()
    assert len(lost) == 1


def test_a_loss_is_noticed_when_others_have_begun_again_already(store: Store, redis_client: redis.Redis) -> None:
    lost: list[Watch] = []
    store.register("c", {})
    watch = Watch(store, lost.append)
    watch.refresh()
    redis_client.flushall()
    store.register("c", {})
    watch.refresh()
    watch.refresh()
    assert lost == [watch]


def test_who_cannot_begin_again_now_does_so_later(store: Store, redis_client: redis.Redis) -> None:
    tries: list[Watch] = []

    def begin_again(watch: Watch) -> None:
        tries.append(watch)
        if len(tries) == 1:
            raise RedisUnavailable("away again")

    store.register("c", {})
    watch = Watch(store, begin_again)
    watch.refresh()
    redis_client.flushall()
    with pytest.raises(RedisUnavailable):
        watch.refresh()
    watch.refresh()
    watch.refresh()
    assert len(tries) == 2
