"""Triggers: synchronous ones raise errors, those in a request never do, and a case may override both."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import (
    BrokerUnavailable,
    Case,
    DuplicateTest,
    InvalidPayload,
    LiveCheck,
    RedisUnavailable,
    TestExecution,
    current_test,
)
from tests.helpers.order_case import declare, make_order_case
from tests.helpers.unavailable_redis import OUTAGES

WITHIN_A_SECOND = 1.0


@pytest.mark.promise(
    "`trigger()`, `.delay()` and `.apply_async()` raise a LiveCheck error within a second when Redis is unavailable.",
    theme="requests",
)
@pytest.mark.parametrize("outage", OUTAGES)
def test_trigger_raises_within_a_second_when_redis_is_unavailable(outage: Any) -> None:
    with outage() as url:
        case = make_order_case(url)
        for trigger in (case.trigger, case.trigger.delay, lambda: case.trigger.apply_async(("id",), countdown=3)):
            started = time.monotonic()
            with pytest.raises(RedisUnavailable) as caught:
                trigger()
            assert time.monotonic() - started < WITHIN_A_SECOND
            assert "\n" not in str(caught.value)
            assert url.rpartition("/")[0] in str(caught.value)


@pytest.mark.promise(
    "`trigger()`, `.delay()` and `.apply_async()` raise a LiveCheck error within a second when the broker is "
    "unavailable.",
    theme="requests",
)
@pytest.mark.parametrize("outage", OUTAGES)
def test_trigger_raises_within_a_second_when_the_broker_is_unavailable(outage: Any, redis_url: str) -> None:
    with outage() as url:
        case = make_order_case(url, redis_url=redis_url)
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="is it running, and is broker_url right") as raised:
            case.trigger("o-1")
        assert time.monotonic() - started < WITHIN_A_SECOND
        assert case.app.runtime.store.client.zcard(case.app.runtime.store.keys.open(case.name)) == 1, (
            "recorded, for recovery to send"
        )
        assert "The test shop.test_order:o-1 is recorded: recovery sends it" in str(raised.value)
        assert (raised.value.test.id, raised.value.test.recorded_at is None) == ("o-1", False)
        with pytest.raises(BrokerUnavailable) as raised:
            case.trigger.delay("o-2")
        assert raised.value.test.id == "o-2"
        with pytest.raises(BrokerUnavailable) as raised:
            case.trigger.apply_async(("o-3",), countdown=1)
        assert raised.value.test.id == "o-3"


def test_unknown_broker_transport_is_an_error_that_names_it(redis_url: str) -> None:
    case = make_order_case("nosuch://host/", redis_url=redis_url)
    with pytest.raises(BrokerUnavailable, match="broker_url: unsupported kind of broker: .*nosuch"):
        case.trigger("o-1")


def test_duplicate_id_is_refused_while_open(redis_url: str) -> None:
    case = make_order_case(redis_url)
    case.trigger("o-1")
    with pytest.raises(DuplicateTest, match="o-1"):
        case.trigger("o-1")
    with case.maybe_trigger("o-1"):
        pass
    case.app.runtime.outbox.flush()
    assert case.app.runtime.outbox.dropped == 1
    assert case.app.runtime.store.client.llen("livecheck") == 1


def test_arguments_that_are_not_json_raise_inline_and_are_dropped_in_a_request(redis_url: str) -> None:
    case = make_order_case(redis_url)
    with pytest.raises(InvalidPayload, match="must be JSON"):
        case.trigger("o-1", object())
    with case.maybe_trigger("o-1", object()) as test:
        assert test is None
        assert current_test() is None
    assert case.app.runtime.outbox.dropped == 1


def test_arguments_over_the_limit_raise_inline_and_are_dropped_in_a_request(redis_url: str) -> None:
    case = make_order_case(redis_url, max_payload=1000)
    with pytest.raises(InvalidPayload, match=r"over the limit of 1000 \(livecheck_max_payload\)"):
        case.trigger("o-1", "x" * 1000)
    with case.maybe_trigger("o-1", "x" * 1000) as test:
        assert test is None
    assert case.app.runtime.outbox.dropped == 1


@pytest.mark.parametrize("options", [{"probability": 0.0}, {"active": False}])
def test_zero_probability_or_inactive_case_triggers_nothing(redis_url: str, options: dict[str, Any]) -> None:
    livecheck = LiveCheck(Celery("shop", broker=redis_url, set_as_current=False))
    case = livecheck.case(name="c", **options)(type("c", (), {}))
    for _ in range(50):
        with case.maybe_trigger() as test:
            assert test is None
    assert livecheck.runtime.outbox.sent == livecheck.runtime.outbox.dropped == 0


def test_disabled_livecheck_triggers_and_sends_nothing(redis_url: str) -> None:
    case = make_order_case(redis_url, enabled=False)
    with case.maybe_trigger() as test:
        assert test is None
        case.sent.send("x", key="k", force=True)
    assert case.app.runtime.outbox.flush()
    assert case.app.runtime.outbox.sent == 0


async def enter(case: Any) -> Any:
    async with case.maybe_trigger("o-1") as test:
        return test, current_test()


def test_maybe_trigger_works_with_async_with(redis_url: str) -> None:
    import asyncio

    case = make_order_case(redis_url)
    test, current = asyncio.run(enter(case))
    assert test is current
    assert test.id == "o-1"
    assert current_test() is None


def test_errors_of_the_request_propagate(redis_url: str) -> None:
    case = make_order_case(redis_url)
    with pytest.raises(ZeroDivisionError), case.maybe_trigger("o-1"):
        _ = 1 / 0
    assert current_test() is None


def test_id_that_is_not_unicode_is_escaped(redis_url: str) -> None:
    case = make_order_case(redis_url)
    with case.maybe_trigger("\ud800") as test:
        assert test.id == r"\ud800"
    case.sent.send("x", key="\ud800", force=True)
    case.sent.send("x", key="whole", force=True)
    assert case.app.runtime.outbox.flush()
    assert (case.app.runtime.outbox.sent, case.app.runtime.outbox.dropped) == (3, 0)
    assert case.app.runtime.store.signals.listen(case.name, test.id, "reader", ttl=60)["sent"].value == '"x"'


def test_request_is_unaffected_by_an_invalid_redis_url(redis_url: str) -> None:
    case = make_order_case(redis_url, redis_url="redis://localhost:port/0")
    with case.maybe_trigger("o-1") as test:
        assert test is None
    case.sent.send("x", key="o-1", force=True)
    assert current_test() is None
    assert case.app.gate.accept([("LiveCheck-Test-Id", "forged")]).test is None


@pytest.mark.parametrize("by_name", [False, True])
def test_overridden_trigger_and_maybe_trigger_are_always_called(livecheck: LiveCheck, by_name: bool) -> None:
    class Counted(Case):
        called: list[str]

        def trigger(self, *args: Any, **kwargs: Any) -> TestExecution:
            self.called.append("trigger")
            base: Any = Case
            return base.trigger(self, *args, **kwargs) if by_name else super().trigger(*args, **kwargs)

        def maybe_trigger(self, *args: Any, **kwargs: Any) -> Any:
            self.called.append("maybe_trigger")
            base: Any = Case
            return base.maybe_trigger(self, *args, **kwargs) if by_name else super().maybe_trigger(*args, **kwargs)

    case: Any = declare(livecheck, lambda self: None, base=Counted, probability=1.0)
    case.called = []
    for number in range(3):
        assert case.trigger(f"t-{number}").id == f"t-{number}"
        with case.maybe_trigger(f"m-{number}") as test:
            assert test.id == f"m-{number}"
    assert case.called == ["trigger", "maybe_trigger"] * 3
