"""Triggers without a server: in a request, and in Celery's ways."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from celery import Celery
from kombu import Exchange, Queue

from livecheck_celery import Case, ConfigurationError, InvalidPayload, LiveCheck, TestExecution
from livecheck_celery.delivery.message_options import MessageOptions


@pytest.mark.promise("A request that is not tested creates no execution.", theme="requests")
@pytest.mark.parametrize("options", [{"probability": 0.0}, {"active": False}])
def test_request_that_is_not_tested_creates_no_execution(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[object] = []
    monkeypatch.setattr("livecheck_celery.cases.trigger.TestExecution", lambda **values: created.append(values))
    livecheck = LiveCheck(redis_url="redis://127.0.0.1:1/0")
    case = livecheck.add_case(Case, name="idle", **options)
    first, second = case.maybe_trigger("o-1", side="buy"), case.maybe_trigger("o-2")
    assert first is second, "one object for all requests that are not tested"
    with first as test:
        assert test is None
    assert created == []
    livecheck.close()


# -- Celery's ways to call a trigger


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    return livecheck.add_case(Case, name="shop.test_order", test_expires=100.0)


class Triggered(NamedTuple):
    """What was recorded, and how its message was sent."""

    test: TestExecution
    expires_in: float
    delay: float
    options: dict[str, Any]


@pytest.fixture
def triggered(case: Any, monkeypatch: pytest.MonkeyPatch) -> list[Triggered]:
    """What the triggers of the case record and send, without servers."""
    calls: list[Triggered] = []
    recorded: list[tuple[float, float]] = []

    def record(
        test: TestExecution, *, expires_in: float, delay: float = 0.0, max_rate: float | None = None
    ) -> TestExecution:
        assert max_rate == 100.0
        recorded.append((expires_in, delay))
        return test

    def execute(test: TestExecution, **options: Any) -> None:
        calls.append(Triggered(test, *recorded.pop(), options))

    monkeypatch.setattr(case.app.runtime.request_store.executions, "record", record)
    monkeypatch.setattr(case.app.runtime.publisher, "execute", execute)
    return calls


@pytest.mark.parametrize(
    ("options", "delay", "expires_in"),
    [
        ({}, 0.0, 100.0),
        ({"countdown": 5}, 5.0, 100.0),
        ({"countdown": -5}, 0.0, 100.0),
        ({"expires": 30}, 0.0, 30.0),
        ({"expires": "1m"}, 0.0, 60.0),
        ({"expires": timedelta(seconds=30)}, 0.0, 30.0),
        ({"expires": 500}, 0.0, 100.0),
        ({"expires": -1}, 0.0, 0.0),
        ({"countdown": 20, "expires": 30}, 20.0, 10.0),
        ({"countdown": 20, "expires": 10}, 20.0, 0.0),
    ],
)
def test_apply_async_bounds_the_lifetime_by_test_expires(
    case: Any, triggered: list[Triggered], options: dict[str, Any], delay: float, expires_in: float
) -> None:
    case.trigger.apply_async(("o-1", "buy"), {"amount": 3}, priority=5, **options)
    [call] = triggered
    assert (call.delay, call.expires_in) == (delay, expires_in)
    assert call.options == {"countdown": delay or None}
    options = MessageOptions.parse(call.test.message_options)
    assert options.sending == {"priority": 5}
    assert options.message["ignore_result"] is False
    assert (call.test.id, call.test.test_args, call.test.test_kwargs) == ("o-1", ["buy"], {"amount": 3})
    lifetime = call.test.expires - call.test.timestamp
    assert lifetime == timedelta(seconds=delay + expires_in)


@pytest.mark.parametrize("timezone", [UTC, None], ids=["aware", "naive"])
def test_apply_async_accepts_times(case: Any, triggered: list[Triggered], timezone: Any) -> None:
    now = datetime.now(UTC).replace(tzinfo=timezone)
    case.app.app.conf.timezone = "UTC"
    case.trigger.apply_async(eta=now + timedelta(seconds=50), expires=now + timedelta(seconds=80))
    [call] = triggered
    assert call.delay == pytest.approx(50, abs=2)
    assert call.expires_in == pytest.approx(30, abs=0.1)


def test_delay_has_the_arguments_of_the_test(case: Any, triggered: list[Triggered]) -> None:
    case.trigger.delay("o-1", "buy", amount=3)
    case.trigger.delay(id="o-2", amount=4)
    case.trigger.delay()
    assert [(call.test.test_args, call.test.test_kwargs) for call in triggered] == [
        (["buy"], {"amount": 3}),
        ([], {"amount": 4}),
        ([], {}),
    ]
    assert [call.test.id for call in triggered[:2]] == ["o-1", "o-2"]


@pytest.mark.parametrize(("method", "immutable"), [("s", False), ("si", True)])
def test_signature_has_json_arguments_and_the_case_by_keyword(case: Any, method: str, immutable: bool) -> None:
    signature = getattr(case.trigger, method)("o-1", Decimal("9.90"), at=datetime(2026, 1, 2, tzinfo=UTC))
    assert signature.task == "livecheck.execute"
    assert signature.immutable is immutable
    assert signature.args == ("o-1", "9.90")
    own = {"livecheck_case": "shop.test_order", "livecheck_prefix": "livecheck", "livecheck_layout": 1}
    assert signature.kwargs == {"at": "2026-01-02T00:00:00Z", **own}
    assert signature.options == {"queue": "livecheck"}


def test_signature_with_arguments_that_are_not_json_is_refused(case: Any) -> None:
    with pytest.raises(InvalidPayload):
        case.trigger.s("o-1", object())


OPTIONS: dict[str, Any] = {
    "ignore_result": True,
    "argsrepr": "(…)",
    "kwargsrepr": "{…}",
    "producer": object(),
    "publisher": object(),
    "connection": object(),
    "router": object(),
    "serializer": "pickle",
    "retry": True,
    "retry_policy": {"max_retries": 9},
    "exchange": Exchange("orders", type="topic"),
    "routing_key": "orders.eu",
    "queue": Queue("eu", max_priority=9),
    "headers": {"team": "eu"},
    "shadow": "order",
    "task_id": "t-1",
    "time_limit": 9,
    "soft_time_limit": 8,
    "compression": "zlib",
    "link": Celery("shop").signature("shop.next"),
    "link_error": [Celery("shop").signature("shop.failed")],
    "chord": Celery("shop").signature("shop.all"),
    "add_to_parent": False,
    "root_id": "r",
    "parent_id": "p",
    "group_id": "g",
    "group_index": 2,
    "stamped_headers": ["team"],
    "delivery_mode": 1,
    "expiration": 9.0,
    "priority": 0,
    "reply_to": "replies",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_apply_async_is_accepted_and_can_be_stored(
    case: Any, triggered: list[Triggered], name: str
) -> None:
    given = {name: OPTIONS[name], **({"team": "eu"} if name == "stamped_headers" else {})}
    case.trigger.apply_async(("o-1",), **given)
    [call] = triggered
    options = MessageOptions.parse(call.test.message_options)
    message, sending = case.app.runtime.publisher.__class__(case.app.app, "memory://", "q", timeout=1)._message(
        call.test
    )
    assert sending["serializer"] == "json"
    assert sending["retry"] is False
    assert message.headers["id"] == options.message["task_id"]
    if name == "stamped_headers":
        assert message.headers["stamps"] == {"team": "eu"}


def test_all_options_together(case: Any, triggered: list[Triggered]) -> None:
    case.trigger.apply_async(("o-1",), team="eu", **OPTIONS)
    [call] = triggered
    options = MessageOptions.parse(call.test.message_options)
    assert options.sending == {
        "queue": "eu",
        "exchange": "orders",
        "exchange_type": "topic",
        "routing_key": "orders.eu",
        "headers": {"team": "eu"},
        "compression": "zlib",
        "delivery_mode": 1,
        "expiration": 9.0,
        "priority": 0,
    }


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"colour": "red"}, ConfigurationError, "unknown options: colour"),
        ({"priority": "high"}, ConfigurationError, "priority must be an integer from 0 to 255, not 'high'"),
        ({"priority": 300}, ConfigurationError, "priority must be an integer"),
        ({"headers": 5}, ConfigurationError, "int"),
        ({"stamped_headers": ["team"]}, ConfigurationError, "team"),
        ({"queue": "unknown"}, ConfigurationError, "queue 'unknown' is not in task_queues"),
        (
            {"link": Celery("shop").signature("a", args=(object(),))},
            InvalidPayload,
            "options of apply_async are not JSON",
        ),
        ({"headers": {"x": "y" * 2_000_000}}, InvalidPayload, "over the limit of 65536"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_option_is_one_clear_error_before_anything_is_recorded(
    case: Any, triggered: list[Triggered], options: dict[str, Any], error: type[Exception], reason: str
) -> None:
    case.app.app.conf.task_create_missing_queues = False
    with pytest.raises(error, match=reason):
        case.trigger.apply_async(("o-1",), **options)
    assert triggered == []


# -- errors in a request


def test_error_of_maybe_trigger_is_logged_once_and_the_request_continues(
    case: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    case.probability = 1.0
    monkeypatch.setattr(case.app.runtime.outbox, "put", fail)
    for _ in range(3):
        with case.maybe_trigger("o-1") as test:
            assert test is None
    assert caplog.messages == ["case shop.test_order: maybe_trigger() failed; continuing without a test"]


def test_untested_request_can_use_async_with(case: Any) -> None:
    async def request() -> TestExecution | None:
        async with case.maybe_trigger("o-1") as test:
            return test

    case.probability = 0.0
    assert asyncio.run(request()) is None
