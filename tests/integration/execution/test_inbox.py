"""The inbox: many tests wait on one connection, and no signal is lost."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from livecheck_celery import Case, LiveCheck, Signal, SignalEvent, State
from livecheck_celery.cases.arguments import build
from livecheck_celery.models import EVENT
from tests.helpers.waiting import wait_until


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order")
    class test_order(Case):
        sent: Signal[int]

        def run(self) -> None:
            assert self.sent.wait(timeout=20) == 7

    return test_order


def waiting(case: Any, count: int) -> bool:
    boxes = case.app.runtime.inbox._open_mailboxes()
    return len([box for box in boxes if box.awaited()]) == count


@pytest.mark.promise("Many tests wait on one Redis connection per process.", theme="signals")
def test_many_tests_wait_on_one_connection(case: Any, redis_client: redis.Redis) -> None:
    many = 300
    with ThreadPoolExecutor(many) as pool:
        futures = [pool.submit(case.execute_here, build(case, f"o-{number}")) for number in range(many)]
        wait_until(lambda: waiting(case, many), timeout=30, what="all tests wait")
        channel = f"livecheck:inbox:{case.app.runtime.inbox.address}"
        assert redis_client.pubsub_numsub(channel) == [(channel, 1)]
        for number in range(many):
            case.sent.send(7, key=f"o-{number}", force=True)
        states = Counter(future.result(30).state for future in futures)
    assert states == {State.PASS: many}


@pytest.mark.promise("A signal whose pub/sub message is lost is found by the periodic read.", theme="signals")
def test_signal_is_found_when_its_message_is_lost(case: Any, redis_client: redis.Redis) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, build(case, "o-1"))
        wait_until(lambda: waiting(case, 1), what="the test waits")
        # Stored without a message, as if Redis had failed in between.
        event = EVENT.dump_json(SignalEvent("sent", case.name, "o-1", "7", received_at=1.0))
        redis_client.hset(case.app.runtime.store.keys.signals(case.name, "o-1"), "sent", event)
        assert future.result(10).state is State.PASS


@pytest.mark.promise("A broken connection loses no signal.", theme="signals")
def test_broken_connection_loses_no_signal(case: Any, redis_client: redis.Redis) -> None:
    count = 20
    stop = threading.Event()

    def break_connections() -> None:
        while not stop.is_set():
            redis_client.client_kill_filter(_type="pubsub")
            stop.wait(0.05)

    with ThreadPoolExecutor(count + 1) as pool:
        futures = [pool.submit(case.execute_here, build(case, f"o-{number}")) for number in range(count)]
        wait_until(lambda: waiting(case, count), what="all tests wait")
        breaking = pool.submit(break_connections)
        for number in range(count):
            case.sent.send(7, key=f"o-{number}", force=True)
            case.app.runtime.outbox.flush()
        stop.set()
        breaking.result(5)
        states = Counter(future.result(20).state for future in futures)
    assert states == {State.PASS: count}


def test_malformed_message_is_ignored(case: Any, redis_client: redis.Redis) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, build(case, "o-1"))
        wait_until(lambda: waiting(case, 1), what="the test waits")
        redis_client.publish(f"livecheck:inbox:{case.app.runtime.inbox.address}", "nonsense")
        case.sent.send(7, key="o-1", force=True)
        assert future.result(10).state is State.PASS


def test_stopped_process_hands_back_its_waiting_tests(case: Any, redis_client: redis.Redis) -> None:
    test = case.trigger("o-1")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, test)
        wait_until(lambda: waiting(case, 1), what="the test waits")
        case.app.runtime.inbox.stop()
        runner = future.result(10)
    assert (runner.state, runner.handed_back) == (State.INIT, True)
    assert case.app.runtime.store.executions.due(case.name, 10) == ["o-1"], "due before the lease lapses"
    assert case.total_by_state == Counter()

    other = LiveCheck(case.app.app)
    again = other.add_case(type(case), name=case.name)
    again.sent.send(7, key="o-1", force=True)
    assert again.execute(test).state is State.PASS
    assert len(again.frequency_history) == 0, "a second attempt does not count as a second test"
    other.close()


def test_stopping_process_takes_no_new_test_and_continues_running_ones(case: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting_test = pool.submit(case.execute_here, build(case, "o-1"))
        wait_until(lambda: waiting(case, 1), what="the test waits")
        case.app.runtime.interruption.after(60)
        refused = case.execute_here(build(case, "o-2"))
        assert (refused.state, refused.handed_back) == (State.INIT, True)
        case.sent.send(7, key="o-1", force=True)
        assert waiting_test.result(10).state is State.PASS
    assert case.total_by_state == Counter({State.PASS: 1})


def test_mailbox_is_closed_after_the_test(case: Any) -> None:
    case.sent.send(7, key="o-1", force=True)
    case.execute_here(build(case, "o-1"))
    assert case.app.runtime.inbox._open_mailboxes() == []
