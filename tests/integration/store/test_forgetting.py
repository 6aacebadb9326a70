"""The state of an execution after its verdict; no execution runs twice."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from livecheck_celery import Case, LiveCheck, State, TestExecution, TooManyTests
from livecheck_celery.delivery.publisher import EXECUTE, TEST_KEYWORD
from livecheck_celery.store import Store
from livecheck_celery.store import executions as store_executions
from livecheck_celery.store import signals as store_signals
from livecheck_celery.store.database import FORGET_AFTER
from livecheck_celery.store.retry import RETRY_FOR
from livecheck_celery.tasks.recovery import sweep
from tests.helpers.executions import claim, due, judge
from tests.helpers.factories import CASE, make_settings, make_signal, make_test
from tests.helpers.waiting import wait_until


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget executions at their verdict."""
    monkeypatch.setattr(store_executions, "FORGET_AFTER", 0)
    monkeypatch.setattr(store_signals, "FORGET_AFTER", 0)


def finish(store: Store, test: TestExecution, token: str = "t1") -> None:
    assert claim(store, test, token).outcome == "run"
    assert judge(store, test, token=token).accepted


def test_record_outlives_its_verdict_for_longer_than_a_worker_retries() -> None:
    assert FORGET_AFTER > 1.5 * RETRY_FOR


@pytest.mark.promise(
    "A message that arrives after the record of its execution has expired runs nothing.",
    theme="verdicts",
)
@pytest.mark.usefixtures("at_once")
def test_message_of_a_forgotten_execution_runs_nothing(store: Store, redis_client: redis.Redis) -> None:
    test = store.executions.record(make_test(), expires_in=60)
    finish(store, test)
    assert not redis_client.exists(store.keys.test(CASE, "id-1"), store.keys.signals(CASE, "id-1"))
    assert claim(store, test, "late").outcome == "done"
    assert not judge(store, test, State.FAIL, "late").accepted
    assert store.suites.statistics(CASE).total_by_state == {State.PASS: 1}


def test_message_whose_record_was_lost_in_a_failover_runs(store: Store, redis_client: redis.Redis) -> None:
    test = store.executions.record(make_test(), expires_in=60)
    redis_client.delete(store.keys.test(CASE, "id-1"))
    found = claim(store, test)
    assert (found.outcome, found.recorded_at) == ("run", test.recorded_at)
    assert claim(store, test, "twice").outcome == "busy"


@pytest.mark.usefixtures("at_once")
def test_message_from_before_redis_lost_its_data_runs(store: Store, redis_client: redis.Redis) -> None:
    before = store.executions.record(make_test("before"), expires_in=60)
    redis_client.flushall()
    finish(store, store.executions.record(make_test("after"), expires_in=60))
    finish(store, before, "t2")


def test_message_of_an_earlier_use_of_the_id_runs_nothing(store: Store) -> None:
    earlier = store.executions.record(make_test(test_args=["earlier"]), expires_in=60)
    finish(store, earlier)
    later = store.executions.record(make_test(test_args=["later"]), expires_in=60)
    assert claim(store, earlier, "late").outcome == "done"
    assert claim(store, later, "t2").outcome == "run"


def test_finished_execution_keeps_little_for_a_short_time(store: Store, redis_client: redis.Redis) -> None:
    test = store.executions.record(make_test(test_args=["x" * 10_000]), expires_in=3600)
    store.signals.send(make_signal(), ttl=3600)
    finish(store, test)
    record, signals = store.keys.test(CASE, "id-1"), store.keys.signals(CASE, "id-1")
    assert redis_client.memory_usage(record) < 400
    assert 0 < redis_client.ttl(record) <= FORGET_AFTER + 1, "longer than the signals"
    assert 0 < redis_client.ttl(signals) <= FORGET_AFTER


def test_execution_that_came_without_a_record_is_remembered_for_longer(store: Store, redis_client: redis.Redis) -> None:
    finish(store, make_test())
    assert FORGET_AFTER < redis_client.ttl(store.keys.test(CASE, "id-1")) <= store_executions.REMEMBER


def test_signals_that_another_test_listens_for_are_kept(store: Store, redis_client: redis.Redis) -> None:
    test = store.executions.record(make_test(), expires_in=600)
    store.signals.listen(CASE, "id-1", "elsewhere", ttl=600)
    finish(store, test)
    assert redis_client.ttl(store.keys.signals(CASE, "id-1")) > FORGET_AFTER


def test_signal_that_overtakes_its_trigger_is_kept_as_long_as_the_test(store: Store, redis_client: redis.Redis) -> None:
    signals = store.keys.signals(CASE, "id-1")
    store.signals.send(make_signal(), ttl=0)
    assert redis_client.ttl(signals) <= store_signals.SIGNAL_TTL
    store.executions.record(make_test(), expires_in=600)
    assert 590 < redis_client.ttl(signals) <= 600


def test_signal_is_kept_as_long_as_its_test(store: Store, redis_client: redis.Redis) -> None:
    store.executions.record(make_test(), expires_in=600)
    store.signals.send(make_signal(), ttl=0)
    assert 590 < redis_client.ttl(store.keys.signals(CASE, "id-1")) <= 600


def test_signal_after_the_verdict_is_kept_for_a_short_time(store: Store, redis_client: redis.Redis) -> None:
    finish(store, store.executions.record(make_test(), expires_in=600))
    store.signals.send(make_signal(), ttl=600)
    assert 0 < redis_client.ttl(store.keys.signals(CASE, "id-1")) <= FORGET_AFTER


# -- executions without a verdict are bounded


@pytest.fixture
def small(redis_url: str) -> Store:
    return Store(make_settings(redis_url, max_open=2))


def test_test_over_max_open_is_refused_until_one_has_its_verdict(small: Store) -> None:
    first = small.executions.record(make_test("1"), expires_in=60)
    small.executions.record(make_test("2"), expires_in=60)
    with pytest.raises(TooManyTests, match=r"shop.test_order:3: too many tests .* \(livecheck_max_open, "):
        small.executions.record(make_test("3"), expires_in=60)
    small.executions.record(make_test("1", case_name="shop.test_other"), expires_in=60)
    finish(small, first)
    small.executions.record(make_test("3"), expires_in=60)


def test_test_without_a_record_runs_even_over_max_open(small: Store) -> None:
    for number in range(2):
        small.executions.record(make_test(str(number)), expires_in=60)
    finish(small, make_test("chained"))


def test_trigger_of_a_request_over_max_open_is_dropped_and_counted(
    livecheck: LiveCheck, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    livecheck.settings = replace_max_open(livecheck, 1)

    @livecheck.case(name=CASE, probability=1.0)
    class test_order(Case):
        def run(self) -> None: ...

    for number in range(3):
        with test_order.maybe_trigger(str(number)):
            pass
    assert livecheck.runtime.outbox.flush()
    assert livecheck.runtime.outbox.counts == {"backlog": 2}
    assert "too many tests of the case have no verdict (livecheck_max_open, livecheck_max_open_bytes)" in caplog.text
    assert redis_client.llen("livecheck") == 1


def replace_max_open(livecheck: LiveCheck, max_open: int) -> Any:
    return livecheck.settings.model_copy(update={"max_open": max_open})


# -- the message of a recorded test has recorded_at


def recorded_at(message: bytes | str) -> float | None:
    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    return TestExecution(**body[1][TEST_KEYWORD]).recorded_at


def by_trigger(case: Any) -> None:
    case.trigger("o-1")


def by_delay(case: Any) -> None:
    case.trigger.delay("o-1")


def by_maybe_trigger(case: Any) -> None:
    with case.maybe_trigger("o-1"):
        pass
    assert case.app.runtime.outbox.flush()


def by_sweep(case: Any) -> None:
    case.trigger("o-1")
    case.app.runtime.store.client.delete("livecheck")
    case.app.runtime.store.executions.make_due(CASE, ["o-1"])
    sweep(case)


@pytest.mark.parametrize("send", [by_trigger, by_delay, by_maybe_trigger, by_sweep])
def test_message_has_the_time_its_test_was_recorded(
    livecheck: LiveCheck, redis_client: redis.Redis, send: Callable[[Any], None]
) -> None:
    @livecheck.case(name=CASE, probability=1.0)
    class test_order(Case):
        def run(self) -> None: ...

    send(test_order)
    message = wait_until(lambda: redis_client.lpop("livecheck"), what="a message")
    stored = redis_client.hget(livecheck.runtime.store.keys.test(CASE, "o-1"), "recorded_at")
    assert recorded_at(message) == float(str(stored))
    test = replace(make_test("o-1"), recorded_at=recorded_at(message))
    assert test_order.execute(test).state is State.PASS


def test_message_without_a_record_that_is_delivered_twice_runs_once(livecheck: LiveCheck) -> None:
    @livecheck.case(name=CASE)
    class test_order(Case):
        def run(self, side: str) -> None: ...

    signature = test_order.trigger.s(None, "sell")
    task = livecheck.app.tasks[EXECUTE]
    states = [task.apply(signature.args, signature.kwargs, task_id="a-message").state for _ in range(2)]
    assert states == ["SUCCESS", "IGNORED"], "the result of the first one stands"
    assert task.apply(signature.args, signature.kwargs, task_id="another").get() == "PASS"
    assert livecheck.runtime.store.suites.statistics(CASE).total_by_state == {State.PASS: 2}


def test_resent_test_has_the_record_that_its_claim_created(store: Store) -> None:
    claimed = claim(store, make_test(), lease=0.02)
    due(store)
    action, test = store.executions.recover(CASE, "id-1", "sweeper")
    assert (action, test and test.recorded_at) == ("send", claimed.recorded_at)
