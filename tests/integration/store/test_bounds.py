"""Memory of a case and of a worker: as in docs/memory.md, and independent of the number of executions."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from livecheck_celery import Case, LiveCheck, Signal, State
from livecheck_celery.cases.trigger import build
from livecheck_celery.store import executions as store_executions
from livecheck_celery.store import signals as store_signals
from tests.helpers.factories import CASE, make_settings, make_signal, make_test
from tests.helpers.footprints import BulkStore, claim, judge, per_test, run_executions, used
from tests.helpers.waiting import wait_until

#: Relative deviation from the formula: servers and allocators differ.
MARGIN = 0.15

MAX_REPORTS, MAX_HISTORY, OPEN, FINISHED, SIGNALS, SIZE = 400, 300, 300, 200, 4, 2_000

TRACEBACK = "y" * SIZE


def expected_bytes(arguments: int, report: int) -> int:
    """Return the memory of the case that `fill` fills, by the formula of docs/memory.md."""
    fixed = 2_000 + 3 * 15 * MAX_HISTORY
    open_ = OPEN * (1_100 + arguments + SIGNALS * (300 + SIZE))
    finished = FINISHED * (600 + SIGNALS * (300 + SIZE))
    return fixed + open_ + finished + MAX_REPORTS * (100 + report)


@pytest.fixture
def bulk(redis_url: str) -> Iterator[BulkStore]:
    store = BulkStore(make_settings(redis_url, max_reports=MAX_REPORTS, max_open=OPEN))
    yield store
    store.client.close()


def fill(store: BulkStore) -> None:
    """Store more of everything than is kept of one case."""
    finished = [make_test(f"finished-{number:023}", nonce="0" * 12) for number in range(FINISHED)]
    waiting = [make_test(f"open-{number:027}", test_args=["x" * SIZE], nonce="0" * 12) for number in range(OPEN)]
    for tests in (finished, waiting):
        store.send(lambda one=one: store.executions.record(one, expires_in=3600) for one in tests)
        signals = [make_signal(f"signal_{at}", f'"{"x" * SIZE}"', one.id) for one in tests for at in range(SIGNALS)]
        store.send(lambda one=one: store.signals.send(one, ttl=0) for one in signals)
        store.send(lambda one=one: claim(store, one, MAX_HISTORY) for one in tests)
        if tests is finished:
            store.send(lambda one=one: judge(store, one, max_history=MAX_HISTORY) for one in tests)
    beyond = [make_test(f"beyond-{number}") for number in range(50)]
    assert set(store.send(lambda one=one: store.executions.record(one, expires_in=3600) for one in beyond)) == {
        "backlog"
    }
    for _ in range(2):
        # The same tests again, so that there are more starts and reports than are kept.
        store.client.delete(*[store.keys.test(CASE, one.id) for one in finished])
        store.send(lambda one=one: claim(store, one, MAX_HISTORY) for one in finished)
        store.send(lambda one=one: judge(store, one, max_history=MAX_HISTORY, traceback=TRACEBACK) for one in finished)


def test_memory_of_a_full_case_matches_the_documented_formula(bulk: BulkStore, redis_client: redis.Redis) -> None:
    fill(bulk)  # so that the server has its buffers, and the scripts
    redis_client.execute_command("FLUSHALL", "SYNC")
    before = used(redis_client)
    fill(bulk)
    keys = bulk.keys
    assert redis_client.xlen(keys.reports(CASE)) == MAX_REPORTS
    for history in (keys.frequency(CASE), keys.latency(CASE), keys.runtime(CASE)):
        assert redis_client.llen(history) == MAX_HISTORY
    assert redis_client.zcard(keys.open(CASE)) == OPEN
    assert per_test(redis_client) == 2 * (OPEN + FINISHED)
    entries: Any = redis_client.xrange(keys.reports(CASE))
    report = sum(len(fields["report"]) for _, fields in entries) / len(entries)
    expected = expected_bytes(SIZE, int(report))
    assert sum(redis_client.memory_usage(key, samples=0) or 0 for key in redis_client.scan_iter()) == pytest.approx(
        expected, rel=MARGIN
    )
    assert used(redis_client) - before == pytest.approx(expected, rel=MARGIN)


@pytest.fixture
def forgotten_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget executions after a second instead of two minutes."""
    monkeypatch.setattr(store_executions, "FORGET_AFTER", 1)
    monkeypatch.setattr(store_signals, "FORGET_AFTER", 1)


@pytest.mark.usefixtures("forgotten_soon")
def test_memory_after_many_executions_is_that_after_few(bulk: BulkStore, redis_client: redis.Redis) -> None:
    def left(first: int, count: int) -> tuple[set[Any], int]:
        run_executions(bulk, first, count)
        wait_until(lambda: per_test(redis_client) == 0, 60, "no keys of single executions")
        return set(redis_client.keys()), used(redis_client)

    few, many = left(0, 500), left(500, 5_000)
    assert len(few[0]) == len(many[0]) == 5
    # The server's own buffers vary; a key per execution would be 1.5 MB.
    assert many[1] < few[1] + 500_000
    assert bulk.client.xlen(bulk.keys.reports(CASE)) == MAX_REPORTS


# -- the worker


def executed(case: Any, first: int, count: int) -> None:
    for number in range(first, first + count):
        test = build(case, f"test-{number}", (number,))
        case.app.runtime.store.signals.send(make_signal("sent", "1", test.id, case.name), ttl=0)
        case.execute_here(test)


def held(case: Any) -> dict[str, int]:
    """Count the objects of single executions in this process, by part."""
    runtime = case.app.runtime
    return {
        "mailboxes": len(runtime.inbox._mailboxes),
        "leases": len(runtime.leases._held),
        "deadlines": len(runtime.deadlines._due),
        "outbox": runtime.outbox._queue.qsize(),
    }


@pytest.fixture
def silence() -> Iterator[None]:
    """Log nothing, since pytest keeps log records."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("silence")
def test_executions_leave_nothing_in_the_worker(livecheck: LiveCheck) -> None:
    @livecheck.case(name=CASE, max_consecutive_failures=10**6)
    class test_order(Case):
        sent: Signal[int]
        never: Signal[int]

        def run(self, number: int) -> None:
            self.sent.wait(timeout=5)
            assert number % 3, "one of three fails"
            if number % 100 == 1:
                self.never.wait(timeout=0.001)

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    executed(test_order, 0, 300)
    before = objects()
    executed(test_order, 300, 3_000)
    assert objects() - before < 300
    assert set(held(test_order).values()) == {0}
    assert livecheck.runtime.store.suites.statistics(CASE).total_by_state.keys() == {
        State.PASS,
        State.FAIL,
        State.TIMEOUT,
    }
