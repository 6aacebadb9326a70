"""Recovery: executions that no worker finished are re-sent or closed with one verdict."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from livecheck_celery import BrokerUnavailable, Case, LiveCheck, RedisUnavailable, State
from livecheck_celery.cases.arguments import build
from livecheck_celery.delivery.publisher import TEST_KEYWORD
from livecheck_celery.models import EXECUTION
from livecheck_celery.store.replies import Recovery
from livecheck_celery.tasks import recovery
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.recovery import Queues, sweep
from tests.helpers.waiting import wait_until


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order")
    class test_order(Case):
        def run(self) -> None: ...

    return test_order


def claim(case: Any, test: Any, token: str, lease: float = 0.05) -> None:
    case.app.runtime.store.executions.claim(
        test, token=token, address="dead", lease=lease, active=True, frequency=None, max_history=10, expires_in=60
    )


def sweep_when_due(case: Any) -> None:
    wait_until(lambda: case.app.runtime.store.executions.due(case.name, 10), what="something is due")
    sweep(case)


def last_report(case: Any) -> tuple[State, str | None]:
    report = case.app.runtime.store.reports.latest([case.name], count=1)[0]
    return report.state, report.error


def test_lost_message_is_resent(case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 0.05)
    case.trigger("o-1")
    redis_client.delete("livecheck")
    sweep_when_due(case)
    assert redis_client.llen("livecheck") == 1
    case.app.runtime.outbox.start()
    assert case.app.flush(10)
    assert case.app.runtime.store.counters.read().counts == {"messages sent again": 1}


def test_test_whose_queue_cannot_be_asked_stays_due(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_messages(queue: str | None) -> bool:
        raise BrokerUnavailable(f"no answer about {queue}")

    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 0.05)
    case.trigger("o-1")
    executions = case.app.runtime.store.executions
    wait_until(lambda: executions.due(case.name, 10), what="it is due")
    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 60.0)
    with pytest.raises(BrokerUnavailable):
        sweep(case, Queues(has_messages))
    assert executions.due(case.name, 10) == ["o-1"]


def test_test_that_is_due_again_in_a_long_pass_is_sent_once(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = case.trigger("o-1")
    redis_client.delete("livecheck")
    due = [["o-1"], ["o-1"], []]
    monkeypatch.setattr(case.app.runtime.store.executions, "due", lambda *_: due.pop(0))
    monkeypatch.setattr(case.app.runtime.store.executions, "recover", lambda *_: Recovery("resend", test))
    sweep(case)
    assert redis_client.llen("livecheck") == 1


def test_execution_of_a_dead_worker_is_resent(case: Any, redis_client: redis.Redis) -> None:
    test = build(case, "o-1")
    case.app.runtime.store.executions.record(test, expires_in=60)
    claim(case, test, "dead")
    sweep_when_due(case)
    assert redis_client.llen("livecheck") == 1
    assert case.execute_here(test).state is State.PASS
    assert case.total_by_state == Counter(PASS=1)


def test_execution_whose_workers_keep_dying_is_an_error(
    case: Any, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    test = build(case, "o-1")
    case.app.runtime.store.executions.record(test, expires_in=60)
    for attempt in range(3):
        claim(case, test, f"dead-{attempt}")
        sweep_when_due(case)
    assert last_report(case) == (State.ERROR, "worker lost: it stopped without a verdict")
    assert f"runner: {test.ident}: ERROR: worker lost: it stopped without a verdict" in caplog.messages
    assert case.total_by_state == Counter(ERROR=1)
    assert case.status is State.ERROR
    assert case.execute_here(test).state is State.INIT, "the verdict is final"


@pytest.mark.promise("A test that is still running when it expires is a TIMEOUT.", theme="recovery")
def test_run_past_the_expiry_is_a_timeout_and_its_own_verdict_is_refused(case: Any) -> None:
    def run(self: Any) -> None:
        wait_until(lambda: self.total_by_state[State.TIMEOUT], what="the sweep's verdict")

    type(case).run = run
    case.test_expires = case.test_expires.resolution * 200_000  # 0.2 s
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, build(case, "o-1"))
        sweep_when_due(case)
        runner = future.result(10)
    assert runner.state is State.PASS
    assert last_report(case) == (State.TIMEOUT, "still running when the test expired")
    assert case.total_by_state == Counter(TIMEOUT=1)


@pytest.mark.promise("A test that no worker took before it expired is a SKIP.", theme="recovery")
def test_unclaimed_test_is_a_skip_when_it_expires(case: Any) -> None:
    test = build(case, "o-1")
    case.app.runtime.store.executions.record(test, expires_in=0.05)
    sweep_when_due(case)
    assert last_report(case) == (State.SKIP, "expired before a worker took it")
    assert case.last_test_received is None


def test_leases_are_renewed_while_a_test_runs(case: Any) -> None:
    case.app.runtime.leases.lease = 0.3
    started = time.monotonic()

    def run(self: Any) -> None:
        # Three leases: without renewal the sweep would find it lapsed.
        wait_until(lambda: time.monotonic() - started > 1.0)

    type(case).run = run
    found: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(case.execute_here, build(case, "o-1"))
        while not future.done():
            found.extend(case.app.runtime.store.executions.due(case.name, 10))
    assert future.result().state is State.PASS
    assert found == []


def test_one_sweep_resends_more_than_a_batch(case: Any, redis_client: redis.Redis) -> None:
    tests = [build(case, f"o-{number}") for number in range(recovery.BATCH + 1)]
    for test in tests:
        case.app.runtime.store.executions.record(test, expires_in=60)
        claim(case, test, "dead", lease=0.2)
    wait_until(lambda: len(case.app.runtime.store.executions.due(case.name, 1000)) == len(tests), what="all are due")
    sweep(case)
    assert redis_client.llen("livecheck") == len(tests)


@pytest.mark.promise("An execution whose message the broker refused is sent by the next sweep.", theme="recovery")
def test_next_sweep_resends_what_the_broker_refused(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = build(case, "o-1")
    case.app.runtime.store.executions.record(test, expires_in=60)
    claim(case, test, "dead")

    def refuse(*_: Any) -> None:
        raise BrokerUnavailable("refused")

    with monkeypatch.context() as broken:
        broken.setattr(case.app.runtime.publisher, "execute_all", refuse)
        with pytest.raises(BrokerUnavailable):
            sweep_when_due(case)
    sweep(case)
    assert redis_client.llen("livecheck") == 1


@pytest.mark.promise("A sweep that loses Redis still sends the executions that it has claimed.", theme="recovery")
def test_sweep_sends_its_claimed_executions_when_redis_fails(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        test = build(case, f"o-{number}")
        case.app.runtime.store.executions.record(test, expires_in=60)
        claim(case, test, "dead")
    wait_until(lambda: len(case.app.runtime.store.executions.due(case.name, 10)) == 3, what="three are due")
    recover, calls = case.app.runtime.store.executions.recover, []

    def fail_at_third(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise RedisUnavailable("unavailable")
        return recover(*args)

    with monkeypatch.context() as broken:
        broken.setattr(case.app.runtime.store.executions, "recover", fail_at_third)
        with pytest.raises(RedisUnavailable):
            sweep(case)
    assert redis_client.llen("livecheck") == 2
    sweep(case)
    assert redis_client.llen("livecheck") == 3


def test_cases_due_lists_the_cases_with_due_executions(case: Any) -> None:
    test = build(case, "o-1")
    case.app.runtime.store.executions.record(test, expires_in=60)
    claim(case, test, "dead")
    wait_until(lambda: case.app.runtime.store.executions.due(case.name, 1), what="one is due")
    open_cases = case.app.runtime.store.executions.open_cases
    assert open_cases.due(["shop.test_before", case.name, "shop.test_after"], [case.name]) == ([case.name], [case.name])
    assert open_cases.due([]) == ([], [])


def test_unreadable_record_does_not_stop_the_sweep(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 0.05)
    case.trigger("broken")
    case.trigger("whole")
    redis_client.hset(case.app.runtime.store.keys.test(case.name, "broken"), "payload", "nonsense")
    redis_client.delete("livecheck")
    wait_until(lambda: len(case.app.runtime.store.executions.due(case.name, 10)) == 2, what="both are due")
    sweep(case)
    assert redis_client.llen("livecheck") == 1
    state, error = last_report(case)
    assert state is State.ERROR
    assert str(error).startswith("test broken discarded: Redis key ")
    assert redis_client.zrange(case.app.runtime.store.keys.open(case.name), 0, -1) == ["whole"], (
        "the unreadable one is not retried"
    )


# -- messages of tests that no worker took


def receive(case: Any, redis_client: redis.Redis) -> list[str]:
    """Take and execute the oldest message, as a worker does; return the ids of the tests that ran."""
    body = json.loads(base64.b64decode(json.loads(redis_client.rpop("livecheck"))["body"]))
    test = EXECUTION.validate_python(body[1][TEST_KEYWORD])
    return [test.id] if case.execute_here(test).report else []


@pytest.mark.promise("A test that waits for a free worker has one message, however long it waits.", theme="recovery")
def test_waiting_tests_have_one_message_each_and_run_once(case: Any, redis_client: redis.Redis) -> None:
    ids = [f"o-{number}" for number in range(100)]
    for test_id in ids:
        case.trigger(test_id)
    for _ in range(4):
        case.app.runtime.store.executions.make_due(case.name, ids)
        sweep(case)
        assert redis_client.llen("livecheck") == len(ids)
    ran = [each for _ in ids for each in receive(case, redis_client)]
    assert sorted(ran) == sorted(ids)
    assert redis_client.llen("livecheck") == 0


def test_all_lost_messages_are_sent_again_once(case: Any, redis_client: redis.Redis) -> None:
    for test_id in ("o-1", "o-2", "o-3"):
        case.trigger(test_id)
    redis_client.delete("livecheck")
    for _ in range(3):
        case.app.runtime.store.executions.make_due(case.name, ["o-1", "o-2", "o-3"])
        Tasks([case.app]).recover()
        assert redis_client.llen("livecheck") == 3


def test_lost_message_is_sent_again_when_later_ones_were_delivered(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 0.1)
    case.trigger("lost")
    redis_client.delete("livecheck")
    wait_until(lambda: case.app.runtime.store.executions.due(case.name, 10) == ["lost"], what="the first is due")
    case.trigger("later")
    case.trigger("waiting")
    assert receive(case, redis_client) == ["later"]
    sweep(case)
    assert redis_client.llen("livecheck") == 2, "the queue is not empty, but it has overtaken the lost message"
    assert receive(case, redis_client) + receive(case, redis_client) == ["waiting", "lost"]


def test_taken_message_is_sent_again_although_others_wait(case: Any, redis_client: redis.Redis) -> None:
    first, second = build(case, "o-1"), case.trigger("o-2")
    case.app.runtime.store.executions.record(first, expires_in=60)
    claim(case, first, "dead")
    wait_until(lambda: case.app.runtime.store.executions.due(case.name, 10) == ["o-1"], what="its lease lapsed")
    sweep(case)
    assert redis_client.llen("livecheck") == 2
    assert receive(case, redis_client) + receive(case, redis_client) == [second.id, "o-1"]


def test_message_of_another_queue_is_sent_again_to_that_queue(case: Any, redis_client: redis.Redis) -> None:
    case.trigger("other")
    case.trigger.apply_async(("o-1",), queue="eu")
    for lost in (False, True):
        if lost:
            redis_client.delete("eu")
        case.app.runtime.store.executions.make_due(case.name, ["o-1"])
        sweep(case)
        assert (redis_client.llen("eu"), redis_client.llen("livecheck")) == (1, 1)


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # by Celery
@pytest.mark.parametrize(("end", "verdict"), [("expired", "SKIP"), ("lost", "ERROR")])
def test_verdict_of_a_sweep_is_the_result_of_the_task(
    case: Any, redis_client: redis.Redis, end: str, verdict: str
) -> None:
    case.app.app.conf.result_backend = case.app.settings.redis_url
    result = case.trigger.apply_async(("o-1",), expires=0.05 if end == "expired" else 0.3)
    if end == "lost":
        claim(case, build(case, "o-1"), "dead")
    wait_until(lambda: sweep(case) or last_verdict(case), what="a verdict")
    assert result.get(timeout=5) == verdict


def test_verdict_is_recorded_although_the_result_backend_fails(
    case: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(case.app.app.backend, "store_result", fail)
    case.trigger.apply_async(("o-1",), expires=0.05)
    wait_until(lambda: sweep(case) or last_verdict(case), what="a verdict")
    assert last_report(case)[0] is State.SKIP
    [line] = [line for line in caplog.messages if "result" in line]
    assert line == f"recovery: {case.name}:o-1: result not stored: ConnectionError: refused"


def test_broker_that_does_not_count_its_messages_delays_a_test_until_the_next_sweep(case: Any) -> None:
    def fail(_: str | None) -> bool:
        raise BrokerUnavailable("refused")

    executions = case.app.runtime.store.executions
    case.trigger("o-1")
    executions.make_due(case.name, ["o-1"])
    with pytest.raises(BrokerUnavailable):
        sweep(case, Queues(fail))
    assert executions.due(case.name, 10) == ["o-1"]


def last_verdict(case: Any) -> list[Any]:
    return case.app.runtime.store.reports.latest([case.name], count=1)


@pytest.mark.parametrize("was_put_off", [True, False])
def test_message_that_the_broker_refused_is_sent_by_the_next_sweep_after_it_accepts_messages(
    case: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, was_put_off: bool
) -> None:
    """Failed attempts must not defer the next one, nor let it be taken for a message that waits in the queue."""

    def refuse(*_: Any) -> None:
        raise BrokerUnavailable("refused")

    executions, test = case.app.runtime.store.executions, case.trigger("o-1")
    if was_put_off:
        executions.put_off([test], 0.0, 0.0)
    else:
        claim(case, test, "dead")
        executions.release(case.name, test.id, "dead")
    redis_client.delete("livecheck")
    with monkeypatch.context() as refusing:
        refusing.setattr(case.app.runtime.publisher, "execute_all", refuse)
        for _ in range(5):
            wait_until(lambda: executions.due(case.name, 10) == [test.id], what="the test is due")
            with pytest.raises(BrokerUnavailable):
                sweep(case)
    case.trigger("another")
    sweep(case)
    assert redis_client.llen("livecheck") == 2
    assert redis_client.hget(case.app.runtime.store.keys.test(case.name, test.id), "sends") == "1"


def test_message_is_not_noted_as_unsent_for_a_test_that_has_its_verdict(case: Any, redis_client: redis.Redis) -> None:
    executions, test = case.app.runtime.store.executions, case.trigger("o-1")
    case.execute_here(test)
    key = case.app.runtime.store.keys.test(case.name, test.id)
    before = redis_client.hgetall(key)
    executions.unsent([Recovery("send", test), Recovery("send", build(case, "never recorded"))])
    assert redis_client.hgetall(key) == before
    assert executions.due(case.name, 10) == []
