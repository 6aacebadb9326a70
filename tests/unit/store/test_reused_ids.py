"""Signals of an id that is used again: which of them count for the earlier test, and which for the next one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import redis

from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.store import Store
from livecheck_celery.store import signals as store_signals
from livecheck_celery.store.database import FORGET_AFTER, KEEP
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_test
from tests.helpers.redis_keys import let_time_pass


def send(store: Store, test: TestExecution, value: str, *, name: str = "stored", use: str | None = None) -> SignalEvent:
    """Send a signal of ``test``; an empty ``use`` sends it as ``key=`` does."""
    event = SignalEvent(name, CASE, test.id, value, use=test.use if use is None else use)
    assert store.signals.send(event, ttl=60) is None
    return event


def arrived(store: Store) -> dict[str, tuple[str | None, int]]:
    """Return value and number of arrivals of each signal."""
    found = store.signals.listen(CASE, "id-1", "reader", ttl=60)
    return {name: (event.value, event.arrivals) for name, event in found.items()}


def finished(store: Store, *before: str, limits: dict[str, int] | None = None) -> TestExecution:
    """Return a test with a verdict, at which these values had arrived, sent with ``key=``."""
    test = store.executions.record(make_test(), expires_in=3600)
    for value in before:
        send(store, test, value, use="")
    claim(store, test, limits=limits)
    judge(store, test)
    return test


def again(test: TestExecution) -> TestExecution:
    """Return the next test of the same id."""
    return replace(test, timestamp=test.timestamp + timedelta(seconds=1), recorded_at=None)


def record(store: Store, test: TestExecution) -> TestExecution:
    return store.executions.record(test, expires_in=60)


def test_late_signal_does_not_keep_earlier_ones_for_the_next_test(store: Store, redis_client: redis.Redis) -> None:
    first = finished(store, "early enough")
    let_time_pass(redis_client, FORGET_AFTER - 20)
    send(store, first, "late", name="sold")
    let_time_pass(redis_client, 50)
    record(store, again(first))
    assert arrived(store) == {}


def test_listener_does_not_keep_earlier_signals_for_the_next_test(store: Store, redis_client: redis.Redis) -> None:
    first = finished(store, "early enough")
    store.signals.listen(CASE, first.id, "elsewhere", ttl=3600)
    let_time_pass(redis_client, 1800)
    record(store, again(first))
    assert arrived(store) == {}


def test_listener_from_before_the_verdict_does_not_keep_signals_for_the_next_test(
    store: Store, redis_client: redis.Redis
) -> None:
    test = record(store, make_test())
    store.signals.listen(CASE, test.id, "elsewhere", ttl=3600)
    send(store, test, "early enough", use="")
    claim(store, test)
    judge(store, test)
    let_time_pass(redis_client, 1800)
    record(store, again(test))
    assert arrived(store) == {}


def test_all_signals_that_overtake_a_trigger_count(store: Store, redis_client: redis.Redis) -> None:
    first = finished(store)
    second = again(first)
    let_time_pass(redis_client, FORGET_AFTER - 20)
    send(store, second, "1")
    let_time_pass(redis_client, 50)
    send(store, second, "2")
    record(store, second)
    assert arrived(store) == {"stored": ("2", 2)}


def test_late_signal_of_an_unknown_use_is_not_counted_for_the_next_test(store: Store) -> None:
    first = finished(store)
    send(store, first, "late", use="")
    second = record(store, again(first))
    assert arrived(store) == {"stored": ("late", 1)}, "perhaps it is early: it is not lost"
    send(store, second, "own")
    assert arrived(store) == {"stored": ("own", 1)}
    send(store, second, "own, again")
    assert arrived(store) == {"stored": ("own, again", 2)}


def test_early_signal_of_an_unknown_use_is_counted_for_the_next_test(store: Store) -> None:
    first = finished(store, "in time")
    send(store, first, "early", use="")
    second = record(store, again(first))
    send(store, second, "twice")
    assert arrived(store) == {"stored": ("twice", 2)}


@pytest.mark.parametrize(("use", "state"), [("", "PASS"), (None, "FAIL")])
def test_signal_that_can_be_early_for_the_next_test_is_no_failure_of_the_earlier_one(
    store: Store, use: str | None, state: str
) -> None:
    first = finished(store, "in time", limits={"stored": 1})
    send(store, first, "again", use=use)
    [report] = [report for report in store.reports.latest([CASE], count=10) if report.test is None]
    assert report.state == state
    assert str(report.error).startswith("test id-1: stored arrived twice")
    assert ("it can be early for the next test of this id" in str(report.error)) == (use == "")


def test_writes_that_are_repeated_after_the_next_trigger_count_once(store: Store) -> None:
    first = finished(store, "in time")
    sent = [send(store, first, value, use="") for value in ("1", "2", "3")]
    record(store, again(first))
    for event in sent:
        store.signals.send(event, ttl=60)
    assert arrived(store) == {"stored": ("3", 3)}


def test_record_without_a_verdict_is_not_kept_for_its_signals(store: Store, redis_client: redis.Redis) -> None:
    test = record(store, make_test())
    let_time_pass(redis_client, KEEP + 55)
    send(store, test, "1")
    store.signals.listen(CASE, test.id, "elsewhere", ttl=600)
    assert redis_client.ttl(store.keys.test(CASE, test.id)) <= redis_client.ttl(store.keys.open(CASE)) <= 5


def test_signals_for_the_next_test_are_within_the_bound(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_signals, "MAX_FIELDS", 5)
    first = finished(store, "in time")
    assert store.signals.send(SignalEvent("sold", CASE, first.id, "1"), ttl=60) == store_signals.OVERFLOW
    send(store, first, "2", name="sold")
    assert redis_client.hlen(store.keys.signals(CASE, first.id)) == 4
