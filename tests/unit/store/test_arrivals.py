"""How often signals arrive: repeated sends, uses of an id, late duplicates, and ids without a record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis

from livecheck_celery.delivery.outbox import _BATCH as BATCH
from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.store import Store
from livecheck_celery.store import signals as store_signals
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_signal, make_test


def send(store: Store, test: TestExecution, name: str = "stored", value: str = "1", **fields: Any) -> str | None:
    event = SignalEvent(name, CASE, test.id, value, **{"use": test.use, **fields})
    return store.signals.send(event, ttl=60)


def arrived(store: Store, test_id: str = "id-1") -> dict[str, SignalEvent]:
    return store.signals.listen(CASE, test_id, "reader", ttl=60)


def later(test: TestExecution, seconds: float = 1.0) -> TestExecution:
    """The same id, used again."""
    return replace(test, timestamp=test.timestamp + timedelta(seconds=seconds), recorded_at=None)


def record(store: Store, test: TestExecution) -> TestExecution:
    return store.executions.record(test, expires_in=60)


def test_arrivals_are_counted_from_the_first(store: Store) -> None:
    test = record(store, make_test())
    for value in ("1", "2", "3"):
        send(store, test, value=value)
    event = arrived(store)["stored"]
    assert (event.value, event.arrivals, event.label) == ("3", 3, "stored (3 times)")
    assert event.first_at is not None
    assert event.received_at is not None
    assert event.first_at < event.received_at


def test_write_of_a_send_that_is_repeated_counts_once(store: Store) -> None:
    test = record(store, make_test())
    for send_id in ("a", "a", "b", "a", "b"):
        assert send(store, test, send_id=send_id) is None
    assert arrived(store)["stored"].arrivals == 2


def test_arrivals_with_and_without_a_known_use_are_counted_together(store: Store) -> None:
    test = record(store, make_test())
    for use in (test.use, "", test.use):
        send(store, test, use=use)
    assert arrived(store)["stored"].arrivals == 3


def test_batch_that_is_repeated_counts_each_send_once(store: Store) -> None:
    test = record(store, make_test())
    sends = [SignalEvent("stored", CASE, test.id, str(number), use=test.use) for number in range(BATCH + 1)]
    for _ in range(2):  # as after a cut connection
        with store.batch() as batch:
            for event in sends:
                batch.signal(event, ttl=60)
    assert arrived(store)["stored"].arrivals == len(sends)


def test_write_of_a_record_that_is_repeated_has_the_same_reply(store: Store) -> None:
    test = make_test()
    first = record(store, test)
    assert record(store, test).recorded_at == first.recorded_at


def test_signal_of_a_refused_duplicate_does_not_count(store: Store) -> None:
    test = record(store, make_test())
    assert send(store, later(test)) == store_signals.STALE
    assert arrived(store) == {}
    assert send(store, test) is None
    assert list(arrived(store)) == ["stored"]


@pytest.mark.promise("A signal that overtakes the trigger of an id used again is not lost.", theme="signals")
def test_signal_that_overtakes_the_trigger_of_a_reused_id_counts(store: Store) -> None:
    first = record(store, make_test())
    claim(store, first)
    send(store, first)
    judge(store, first)
    second = later(first)
    assert send(store, second, value="2") is None
    assert arrived(store)["stored"].value == "1", "the signal of the first use"
    record(store, second)
    assert arrived(store)["stored"].value == "2"
    assert arrived(store)["stored"].arrivals == 1
    found = claim(store, second)
    assert (found.outcome, found.signals["stored"].value) == ("run", "2")


def test_signal_of_an_earlier_use_does_not_count(store: Store) -> None:
    first = record(store, make_test())
    claim(store, first)
    judge(store, first)
    send(store, first)
    second = record(store, later(first))
    assert arrived(store) == {}
    assert send(store, first) == store_signals.STALE
    assert send(store, second, name="sold") is None
    assert list(arrived(store)) == ["sold"]


def test_signal_of_an_unknown_use_counts_if_it_arrived_after_the_earlier_verdict(store: Store) -> None:
    first = record(store, make_test())
    send(store, first, name="before", use="")
    claim(store, first)
    judge(store, first)
    send(store, first, name="after", use="")
    record(store, later(first))
    assert list(arrived(store)) == ["after"]


def test_same_signal_of_an_unknown_use_counts_if_it_arrived_after_the_earlier_verdict(store: Store) -> None:
    first = record(store, make_test())
    send(store, first, value="1", use="")
    claim(store, first)
    judge(store, first)
    for value in ("2", "3"):
        send(store, first, value=value, use="")
    assert arrived(store)["stored"].arrivals == 3, "of the first test, or of the next one: nobody knows"
    second = record(store, later(first))
    event = arrived(store)["stored"]
    assert (event.value, event.arrivals) == ("3", 2)
    claim(store, second)
    judge(store, second)
    record(store, later(first, 2.0))
    assert arrived(store) == {}, "it belonged to the second test"


def test_signal_of_the_next_use_precedes_one_of_an_unknown_use(store: Store) -> None:
    first = record(store, make_test())
    claim(store, first)
    judge(store, first)
    second = later(first)
    send(store, second, value="known")
    send(store, first, value="unknown", use="")
    record(store, second)
    assert arrived(store)["stored"].value == "known"


def test_signal_of_another_use_that_arrived_before_any_record_does_not_count(store: Store) -> None:
    test = make_test()
    send(store, test, name="own")
    send(store, later(test, -1.0), name="of another")
    send(store, test, name="unknown", use="")
    record(store, test)
    assert sorted(arrived(store)) == ["own", "unknown"]


def test_claim_replies_the_use_of_the_record(store: Store) -> None:
    test = record(store, make_test())
    assert claim(store, replace(later(test), recorded_at=test.recorded_at)).use == test.use


def late_reports(store: Store) -> list[tuple[str, str | None]]:
    reports = store.reports.latest([CASE], count=10)
    return [(report.state.value, report.error) for report in reports if report.test is None]


def test_duplicate_after_the_verdict_is_counted_and_reported_once(store: Store) -> None:
    test = record(store, make_test())
    claim(store, test)
    send(store, test)
    judge(store, test)
    assert late_reports(store) == []
    send(store, test)
    send(store, test)
    send(store, test, name="new")
    assert arrived(store)["stored"].arrivals == 3
    [(state, error)] = late_reports(store)
    assert state == "PASS"
    assert error == "test id-1: stored arrived twice, the last time 0.0 s after the verdict PASS"


def test_forbidden_duplicate_after_the_verdict_is_reported_as_a_failure(store: Store) -> None:
    test = record(store, make_test())
    claim(store, test, limits={"stored": 1})
    send(store, test)
    judge(store, test)
    send(store, test)
    [(state, error)] = late_reports(store)
    assert state == "FAIL"
    assert str(error).endswith("after the verdict PASS (times=1)")


def test_reports_of_late_duplicates_are_bounded_and_followed(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_signals, "MAX_LATE", 2)
    positions: dict[str, str] = {}
    assert store.reports.follow([CASE], positions, block=0) == []
    test = record(store, make_test())
    claim(store, test)
    judge(store, test)
    for name in ("a", "b", "c"):
        send(store, test, name=name)
        send(store, test, name=name)
    followed = store.reports.follow([CASE], positions, block=0)
    errors = [report.error for report in followed if report.error and "after the verdict" in report.error]
    assert [str(error).split()[2] for error in errors] == ["b", "c"]
    assert store.reports.follow([CASE], positions, block=0) == []
    assert redis_client.ttl(store.keys.late(CASE)) == pytest.approx(30 * 24 * 3600, abs=5)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_signals, "MAX_UNRECORDED", 3)


def stored_ids(store: Store, redis_client: redis.Redis) -> set[str]:
    prefix = store.keys.signals(CASE, "")
    return {key.removeprefix(prefix) for key in redis_client.scan_iter() if key.startswith(prefix)}


@pytest.mark.usefixtures("few")
def test_signals_of_ids_without_a_record_are_bounded_in_number(store: Store, redis_client: redis.Redis) -> None:
    for number in range(10):
        assert store.signals.send(make_signal(key=f"foreign-{number}"), ttl=60 + number) is None
    assert stored_ids(store, redis_client) == {"foreign-7", "foreign-8", "foreign-9"}
    assert redis_client.zcard(store.keys.unrecorded(CASE)) == 3


@pytest.mark.usefixtures("few")
def test_signals_that_a_test_waits_for_or_has_are_not_dropped(store: Store, redis_client: redis.Redis) -> None:
    store.signals.listen(CASE, "awaited", "here", ttl=60)
    store.signals.send(make_signal(key="awaited"), ttl=60)
    store.signals.send(make_signal(key="recorded"), ttl=60)
    record(store, make_test("recorded"))
    for number in range(10):
        store.signals.send(make_signal(key=f"foreign-{number}"), ttl=100 + number)
    assert {"awaited", "recorded"} <= stored_ids(store, redis_client)
    assert redis_client.zcard(store.keys.unrecorded(CASE)) == 3


def test_signals_of_a_test_that_is_recorded_meanwhile_are_not_dropped(store: Store) -> None:
    test = make_test("recorded")
    send(store, test)
    record(store, test)
    store.signals.drop(CASE, [test.id])
    assert list(arrived(store, test.id)) == ["stored"]


def test_signals_of_ids_without_a_record_are_bounded_in_bytes(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_signals, "MAX_UNRECORDED_BYTES", 10_000)
    value = f'"{"x" * 4000}"'
    for number in range(5):
        store.signals.send(make_signal(key=f"foreign-{number}", value=value), ttl=60 + number)
        store.signals.send(make_signal(key=f"foreign-{number}", value=value), ttl=60 + number)
    assert stored_ids(store, redis_client) == {"foreign-3", "foreign-4"}
    sizes = {one: int(size) for one, size in redis_client.hgetall(store.keys.unrecorded_bytes(CASE)).items()}
    assert sizes.pop("") == sum(sizes.values()) < 10_000
    too_large = make_signal(key="foreign-4", value=f'"{"x" * 11_000}"')
    assert store.signals.send(too_large, ttl=60) == store_signals.OVERFLOW
    record(store, make_test("foreign-3"))
    record(store, make_test("foreign-4"))
    assert redis_client.hgetall(store.keys.unrecorded_bytes(CASE)) == {"": "0"}


def test_signals_of_one_id_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_signals, "MAX_FIELDS", 4)
    assert [store.signals.send(make_signal(name), ttl=60) for name in ("a", "b", "c", "a")] == [
        None,
        None,
        store_signals.OVERFLOW,
        None,
    ]


def test_known_signal_is_accepted_however_many_processes_listen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_signals, "MAX_FIELDS", 2)
    test = record(store, make_test())
    assert send(store, test, value="1") is None
    assert arrived(store)["stored"].value == "1"  # which listens
    assert send(store, test, value="2") is None
    assert arrived(store)["stored"].value == "2"


def test_batch_drops_what_is_over_the_bound(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_signals, "MAX_UNRECORDED", 2)
    test = record(store, make_test())
    with store.batch() as batch:
        for number in range(5):
            batch.signal(make_signal(key=f"foreign-{number}"), ttl=60 + number)
        batch.signal(replace(make_signal(), use=later(test).use), ttl=0)
    assert [outcome if isinstance(outcome, str) else "done" for outcome in batch.outcomes] == ["done"] * 5 + ["stale"]
    assert stored_ids(store, redis_client) == {"foreign-3", "foreign-4"}
