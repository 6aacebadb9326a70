"""Numbers and times in Redis that LiveCheck did not write: the operations of their case go on, and replace them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from livecheck_celery import State
from livecheck_celery.errors import UnreadableData
from livecheck_celery.models import TestExecution
from livecheck_celery.store import Store
from livecheck_celery.store.schedule_runs import Window
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_signal, make_test

NUMBERS = [b"x", b"", b"nan", b"inf", b"-1", b"-inf", b"1e400", b"0x10", b"1e300", b"9" * 400, b"\xff", b"1 2", b"[1]"]
#: Fields whose value is a text.
TEXTS = {b"status", b"reported_by", b"run"}


def live(store: Store, test_id: str, state: State = State.PASS) -> None:
    """Let all operations of a case happen, each of which fails if it is refused."""
    first, second, beside = (make_test(f"{test_id}-{name}") for name in ("a", "b", "c"))
    for test in (first, second, beside):
        store.executions.record(test, expires_in=60, max_rate=1_000.0)
    for place, test in enumerate((first, second)):
        arrived = claim(store, test, f"{test_id}{place}", frequency=30.0)
        assert arrived.outcome == "run"
        assert store.executions.renew([(CASE, test.id, f"{test_id}{place}")], 30.0) == []
        assert store.signals.send(make_signal(key=test.id), ttl=60) is None
        verdict = judge(store, test, state, f"{test_id}{place}", runtime=0.5, max_history=100)
        assert verdict.accepted
    assert store.signals.send(make_signal(key=f"early-{test_id}"), ttl=60) is None
    store.executions.record(make_test(f"early-{test_id}"), expires_in=60, max_rate=None)
    store.suites.fail(CASE, state=State.ERROR, report=make_report(State.ERROR), state_transition_delay=0, token=test_id)
    store.suites.service_recovered(CASE, state_transition_delay=0)
    store.suites.stalled({CASE: 300.0})
    store.suites.statistics(CASE)
    store.suites.health({CASE: None})
    for attempt in (f"{test_id}-run-1", f"{test_id}-run-2"):
        assert store.schedule_runs.lapsed([CASE], lease=9.0) in ([], [CASE])
        store.schedule_runs.claim(CASE, Window(0.1, 0.1), token=attempt, lease=0.0)
    for each in (beside.id, f"early-{test_id}"):
        store.executions.discard(CASE, each)


@pytest.fixture
def plain_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of somebody who writes to the same Redis."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.flushdb()


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: repr(number[:9]))
@pytest.mark.parametrize("state", [State.PASS, State.FAIL])
def test_no_number_in_the_keys_of_a_case_stops_its_operations(
    store: Store, plain_client: redis.Redis, number: bytes, state: State
) -> None:
    live(store, "0", State.FAIL)
    store.signals.send(make_signal(key="nobody"), ttl=60)
    suite, unrecorded = store.keys.suite(CASE), store.keys.unrecorded_bytes(CASE)
    fields = [(key.encode(), field) for key in (suite, unrecorded) for field in plain_client.hkeys(key)]
    assert len(fields) > 20
    for key, field in fields:
        if field not in TEXTS:
            plain_client.hset(key, field, number)
    live(store, "all", state)
    for place, (key, field) in enumerate(fields):
        if field not in TEXTS:
            plain_client.hset(key, field, number)
        live(store, str(place), state)
    statistics = store.suites.statistics(CASE)
    assert statistics.total_by_state[state] >= 2
    assert plain_client.hget(suite, "open_bytes") == b"0", "no test is open"


def test_number_of_a_record_costs_only_that_test(store: Store, plain_client: redis.Redis) -> None:
    bad, good = make_test("bad"), make_test("good")
    for test in (bad, good):
        store.executions.record(test, expires_in=60)
        claim(store, test)
    plain_client.hset(store.keys.test(CASE, "bad"), mapping={"expires_at": "x", "attempts": "x"})
    held = [(CASE, "bad", "t1"), (CASE, "good", "t1"), (CASE, "lost", "t1")]
    assert store.executions.renew(held, 30.0) == [(CASE, "lost", "t1")]
    assert store.keys.test(CASE, "bad") in store.unreadable.places
    store.executions.release_all(held)
    assert store.executions.due(CASE, 9) == ["good"]


@pytest.mark.parametrize("reply", ["", "x", "3", "[]", "{}", '["x", 2]', '[1, "x", "x", "PASS", ""]'])
def test_reply_of_a_verdict_that_cannot_be_read_is_refused(store: Store, plain_client: redis.Redis, reply: str) -> None:
    test = make_test()
    store.executions.record(test, expires_in=60)
    claim(store, test)
    assert judge(store, test).accepted
    plain_client.hset(store.keys.test(CASE, test.id), "verdict_reply", reply)
    with suppress(UnreadableData):
        assert not judge(store, test).accepted


@pytest.mark.parametrize("limits", ["", "x", "3", "[]", '{"order_sent": "x"}', '{"order_sent": [1]}', "[" * 5000])
def test_late_signal_is_stored_whatever_the_limits_in_the_record(
    store: Store, plain_client: redis.Redis, limits: str
) -> None:
    test = make_test()
    store.executions.record(test, expires_in=60)
    claim(store, test)
    judge(store, test)
    plain_client.hset(store.keys.test(CASE, test.id), "limits", limits)
    for _ in range(2):
        assert store.signals.send(make_signal(key=test.id), ttl=60) is None


@pytest.mark.parametrize("expiry", ["x", "1e300", "99999999999999999", "nan", "-1"])
def test_expiry_of_a_record_costs_only_the_signals_of_that_test(
    store: Store, plain_client: redis.Redis, expiry: str
) -> None:
    test: TestExecution = make_test()
    store.executions.record(test, expires_in=60)
    plain_client.hset(store.keys.test(CASE, test.id), "expires_at", expiry)
    with suppress(UnreadableData):
        store.signals.send(make_signal(key=test.id), ttl=60)
    assert store.signals.send(make_signal(key="other"), ttl=60) is None
