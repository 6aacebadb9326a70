"""The cache of the shared configuration."""

from types import SimpleNamespace

import pytest
import redis

from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.propagation.allowed_sources import AllowedSources
from livecheck_celery.propagation.sources import Source
from livecheck_celery.store import Store
from tests.helpers.factories import make_settings

SETTINGS = {"probability": 0.5, "sources": {"stored": ["task", "orders.store"]}}


def test_overrides_are_dropped_when_redis_lost_its_data(store: Store, redis_client: redis.Redis) -> None:
    store.registry.override("c", {"active": False})
    shared_config = SharedConfig(store, print)
    shared_config.refresh()
    assert shared_config.overrides == {"c": {"active": False}}
    redis_client.flushall()
    shared_config.refresh()
    assert shared_config.overrides == {}


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


def test_source_that_is_not_allowed_is_refused_counted_each_minute_and_logged(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counted: list[tuple[str, str]] = []
    shared_config = SharedConfig(store, print, AllowedSources(["task:*"], {}), lambda *count: counted.append(count))
    sources = {"a": ["task", "orders.store"], "b": ["django", "celery.signals.before_task_publish"]}
    store.registry.register("c", {"sources": sources})
    for _ in range(3):
        shared_config.refresh()
    assert shared_config.sources is not None
    assert shared_config.sources.names("task") == {"orders.store"}
    assert shared_config.sources.names("django") == set()
    assert counted == [("refused", "django:celery.signals.before_task_publish")]
    [line] = caplog.messages
    assert "1 sources of automatic signals refused, such as django:celery.signals.before_task_publish" in line
    monkeypatch.setattr(shared_config, "_measure_at", 0.0)
    shared_config.refresh()
    assert len(counted) == 2, "doctor must know that it still is"


def test_source_of_a_case_that_is_declared_later_is_allowed(store: Store) -> None:
    cases: dict[str, object] = {}
    shared_config = SharedConfig(store, print, AllowedSources([], cases))
    shared_config.case_added("c")
    assert shared_config.sources is None, "not read yet"
    store.registry.register("c", SETTINGS)
    shared_config.refresh()
    assert shared_config.sources is not None
    assert shared_config.sources.refused
    cases["c"] = SimpleNamespace(signals={"stored": SimpleNamespace(source=Source("task", "orders.store"))})
    shared_config.case_added("c")
    assert shared_config.sources.names("task") == {"orders.store"}


def test_field_that_no_key_has_signed_is_ignored_counted_and_logged(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    counted: list[tuple[str, str]] = []
    store = Store(make_settings("redis://fake:6379/0", secret_key="k" * 32), redis_client)
    redis_client.hset(store.keys.shared, "override:probability:c", '{"value": 1.0, "at": 1}')
    shared_config = SharedConfig(store, print, None, lambda *count: counted.append(count))
    shared_config.refresh()
    assert shared_config.overrides == {}
    assert counted == [("untrusted", "unsigned override:probability:c")]
    assert "1 fields ignored, such as unsigned override:probability:c; is livecheck_secret_key" in caplog.text
