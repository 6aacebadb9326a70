"""The outbox, on a store that raises unexpected errors."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from livecheck_celery.delivery import outbox as outbox_module
from livecheck_celery.delivery.items import FinishedOperation, RequestedTest
from livecheck_celery.delivery.outbox import Outbox, Servers
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.delivery.writes import write
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.sources import Source
from livecheck_celery.store import Store
from tests.helpers.factories import CASE, make_sent, make_test
from tests.helpers.waiting import wait_until

ITEM = make_sent()


@pytest.fixture
def outbox(store: Store) -> Iterator[Outbox]:
    publisher: Any = None
    servers = Servers(store, publisher)
    outbox = Outbox(servers, servers, SharedConfig(store, print))
    yield outbox
    outbox.close()


def test_unexpected_error_drops_the_batch_is_logged_once_and_does_not_end_the_thread(
    outbox: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(store, "batch", fail)
        for _ in range(3):
            outbox.put(ITEM)
            assert outbox.flush(10)
    assert outbox.counts == {"error": 3}
    assert caplog.messages == [
        "outbox: dropped 1 items so far (error): unexpected error",
        "outbox: failed to send an item",
    ]
    outbox.put(ITEM)
    assert outbox.flush(10)
    assert outbox.sent == 1


def test_failed_write_of_a_batch_is_the_only_one_that_is_dropped(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[list[TestExecution]] = []
    publisher: Any = SimpleNamespace(execute_all=messages.append)
    outbox = Outbox(Servers(store, publisher), Servers(store, publisher), SharedConfig(store, print))
    redis_client.set(store.keys.test(CASE, "of-others"), "not a hash", ex=60)
    redis_client.set(store.keys.signals(CASE, "of-others"), "not a hash", ex=60)
    monkeypatch.setattr(outbox, "start", lambda: None)
    for test_id in ("a", "of-others", "b"):
        outbox.put(RequestedTest(make_test(test_id), 60.0, 10))
        outbox.put(make_sent(key=test_id))
    outbox.put(RequestedTest(make_test("not-json", test_args=[object()]), 60.0, 10))
    assert outbox.flush()
    assert [test.id for tests in messages for test in tests] == ["a", "b"]
    assert list(store.signals.listen(CASE, "a", "here", ttl=60)) == ["order_sent"]
    assert (outbox.sent, outbox.dropped, outbox.counts) == (4, 3, {"redis": 2, "error": 1})
    assert any("refused a command (WRONGTYPE" in line for line in caplog.messages)


def test_refused_test_is_not_counted_as_sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher: Any = SimpleNamespace(execute_all=lambda _: None)
    outbox = Outbox(Servers(store, publisher), Servers(store, publisher), SharedConfig(store, print))
    monkeypatch.setattr(outbox, "start", lambda: None)
    for _ in range(2):
        outbox.put(RequestedTest(make_test("a"), 60.0, 10))
    assert outbox.flush()
    assert (outbox.sent, outbox.counts) == (1, {"duplicate": 1})


def test_message_that_cannot_be_encoded_holds_back_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute_all(tests: list[TestExecution]) -> None:
        if any(test.id == "bad" for test in tests):
            raise ValueError("cannot be encoded")
        published.extend(test.id for test in tests)

    published: list[str] = []
    publisher: Any = SimpleNamespace(execute_all=execute_all)
    outbox = Outbox(Servers(store, publisher), Servers(store, publisher), SharedConfig(store, print))
    monkeypatch.setattr(outbox, "start", lambda: None)
    for test_id in ("a", "bad", "b"):
        outbox.put(RequestedTest(make_test(test_id), 60.0, 10))
    assert outbox.flush()
    assert published == ["a", "b"]
    assert (outbox.sent, outbox.counts) == (3, {"broker": 1})


def test_unexpected_error_of_the_refresh_is_logged_once_and_it_is_tried_again(
    outbox: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def fail(revision: str) -> None:
        calls.append(revision)
        raise ZeroDivisionError

    monkeypatch.setattr(outbox_module, "REFRESH_EVERY", 0.01)
    monkeypatch.setattr(store.registry, "snapshot", fail)
    outbox.start()
    wait_until(lambda: len(calls) > 3)
    assert caplog.messages == ["outbox: failed to refresh the shared configuration"]


def test_counts_are_kept_until_redis_accepts_them(
    outbox: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(counts: object) -> None:
        raise RedisUnavailable("refused")

    outbox.count("headers ignored: forged", 2)
    with monkeypatch.context() as broken:
        broken.setattr(store.counters, "add", fail)
        outbox.start()
        assert outbox.flush(10)
    assert store.counters.read().counts == {}
    outbox.count("headers ignored: forged", 3)
    assert outbox.flush(10)
    assert store.counters.read().counts == {"headers ignored: forged": 5}


def test_outbox_over_its_item_limit_drops_items(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers(store, None)
    outbox = Outbox(servers, servers, SharedConfig(store, print), max_items=2)
    monkeypatch.setattr(outbox, "start", lambda: None)
    assert [outbox.put(ITEM) for _ in range(4)] == [True, True, False, False]
    assert (outbox.dropped, outbox.counts) == (2, {"full": 2})
    assert outbox.flush()
    assert outbox.sent == 2


def test_server_that_just_failed_is_not_tried_again_by_the_calling_thread(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        calls.append("batch")
        raise RedisUnavailable("refused")

    calls: list[str] = []
    servers = Servers(store, None)
    outbox = Outbox(servers, servers, SharedConfig(store, print))
    monkeypatch.setattr(outbox, "_start_thread", lambda: False)
    monkeypatch.setattr(store, "batch", fail)
    for _ in range(5):
        outbox.put(ITEM)
    assert calls == ["batch"]
    assert outbox.counts == {"redis": 5}


def test_sent_items_free_their_bytes(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MAX_BYTES", 1000)
    item = make_sent(value=f'"{"x" * 398}"')
    for _ in range(5):
        assert outbox.put(item)
        assert outbox.put(item)
        assert outbox.flush(10)
    assert (outbox.sent, outbox.dropped) == (10, 0)


def test_thread_pauses_after_a_failed_batch(outbox: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    class End:
        def is_set(self) -> bool:
            return bool(paused)

        def wait(self, seconds: float) -> None:
            paused.append(seconds)

    def fail() -> None:
        raise RedisUnavailable("refused")

    monkeypatch.setattr(store, "batch", fail)
    monkeypatch.setattr(outbox, "start", lambda: None)
    outbox.put(ITEM)
    end: Any = End()
    outbox._run(end)
    assert paused == [outbox_module._BACKOFF]


def test_outage_costs_one_attempt_for_all_finished_operations_of_a_batch(store: Store) -> None:
    attempts: list[int] = []

    def refresh() -> None:
        attempts.append(1)
        raise RedisUnavailable("no answer within a second")

    shared_config: Any = SimpleNamespace(sources=None, refresh=refresh)
    finished = FinishedOperation(Source("task", "shop.store"), (make_test(),), "null", None)
    with pytest.raises(RedisUnavailable):
        write([finished] * 3, store, shared_config)
    assert attempts == [1]
