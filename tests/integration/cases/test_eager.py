"""Triggers of a host whose own tests set ``task_always_eager``."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis
from celery import Celery, chain

from livecheck_celery import (
    Case,
    LiveCheck,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    RedisUnavailable,
    Signal,
    State,
)
from tests.helpers.unavailable_redis import refusing


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    livecheck.app.conf.task_always_eager = True

    @livecheck.case(name="shop.test_order", probability=1.0)
    class test_order(Case):
        stored: Signal[str]

        def run(self, side: str = "buy") -> None:
            if side == "wait":
                self.stored.wait(timeout=0.1)
            if side == "skip":
                raise LiveCheckTestSkipped("closed")
            assert side == "buy", f"the side is {side}"

    return test_order


@pytest.fixture(autouse=True)
def no_message_is_sent(redis_client: redis.Redis) -> Any:
    yield
    assert [key for key in redis_client.scan_iter() if not key.startswith("livecheck:")] == []


@pytest.mark.promise("With `task_always_eager`, triggers run the test in the process.", theme="tools")
def test_test_is_executed_here_and_now(case: Any) -> None:
    result = case.trigger.delay("o-1")
    assert (result.state, result.get(), result.ready()) == ("SUCCESS", "PASS", True)
    assert case.trigger.apply_async(("o-2", "sell"), countdown=60, task_id="t", queue="eu").get() == "FAIL"
    assert case.trigger("o-3").id == "o-3"
    assert case.trigger.s("o-4").delay().get() == "PASS"
    chained = chain(case.trigger.si("o-5"), case.trigger.si("o-6", "sell")).apply_async()
    assert chained.get() == "FAIL"
    assert case.total_by_state == {State.PASS: 4, State.FAIL: 2}


def test_links_are_called(case: Any) -> None:
    called: list[str] = []

    @case.app.app.task(name="shop.next", shared=False)
    def following(verdict: str) -> None:
        called.append(verdict)

    case.trigger.apply_async(("o-1",), link=case.app.app.signature("shop.next"))
    assert called == ["PASS"]


@pytest.mark.parametrize(
    ("side", "error", "state"),
    [("sell", AssertionError, State.FAIL), ("wait", LiveCheckTestTimeout, State.TIMEOUT)],
)
def test_failure_is_raised_with_eager_propagates(case: Any, side: str, error: type[Exception], state: State) -> None:
    case.app.app.conf.task_eager_propagates = True
    with pytest.raises(error):
        case.trigger.delay("o-1", side)
    assert case.total_by_state == {state: 1}
    assert case.trigger.delay("o-2", "skip").get() == "SKIP", "not a failure"


@pytest.mark.parametrize("propagates", [False, True])
def test_host_test_without_redis_does_not_wait(propagates: bool) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update(task_always_eager=True, task_eager_propagates=propagates)
    with refusing() as url:
        case = LiveCheck(app, redis_url=url).case(name="shop.test_order")(
            type("test_order", (Case,), {"run": lambda _: None})
        )
        started = time.monotonic()
        with pytest.raises(RedisUnavailable):
            case.trigger.s("o-1").delay().get()
        assert time.monotonic() - started < 5.0, "workers retry for a minute"
        case.app.close()


def test_request_is_not_tested_eagerly(case: Any) -> None:
    with case.maybe_trigger("o-1") as test:
        assert test is None
