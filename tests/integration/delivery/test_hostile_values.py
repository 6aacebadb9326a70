"""Values that JSON or Redis cannot have: the value is degraded, and nothing beside it is lost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from livecheck_celery import Case, InvalidPayload, LiveCheck, Signal, State
from livecheck_celery.context import under_test
from livecheck_celery.integrations.celery import install
from livecheck_celery.models import EXECUTION, SignalEvent
from tests.helpers.factories import BrokenStr, make_test
from tests.helpers.order_case import declare, reports

CASE = "shop.test_order"


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name=CASE, probability=1.0)
    class test_order(Case):
        executed: Signal[Any] = Signal.from_task("orders.execute")
        sent: Signal[Any]

    livecheck.runtime.store.registry.register(test_order.name, test_order.describe())
    return test_order


def arrived(case: Any, test_id: str) -> dict[str, SignalEvent]:
    [found] = case.app.runtime.store.signals.awaited([(case.name, test_id, list(case.signals))])
    return dict(found)


@pytest.mark.promise("A value that cannot be sent loses nothing beside it.", theme="input")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("caf\udce9"), r"ValueError: caf\udce9"),
        (BrokenStr(), "BrokenStr"),
        (ValueError(10**5000), "ValueError"),
    ],
    ids=["half a surrogate pair", "__str__ raises", "long integer"],
)
def test_error_of_a_task_that_is_not_text_costs_no_neighbour(
    case: Any, orders: Celery, error: Exception, text: str
) -> None:
    @orders.task(name="orders.execute", shared=False)
    def fail() -> None:
        raise error

    outbox = case.app.runtime.outbox
    for number in range(20):
        with case.maybe_trigger(f"o-{number}"):
            case.sent.send("x")
    with under_test(make_test("bad", CASE)):
        fail.delay()
    assert outbox.flush()
    assert livecheck_of(orders).flush()
    assert outbox.counts == livecheck_of(orders).runtime.outbox.counts == {}
    assert all(arrived(case, f"o-{number}")["sent"].value == '"x"' for number in range(20))
    assert str(arrived(case, "bad")["executed"].error).startswith(f"task orders.execute raised {text}")


def livecheck_of(app: Celery) -> LiveCheck:
    return install(app)


def test_iterator_that_a_task_returns_is_untouched(case: Any, orders: Celery) -> None:
    @orders.task(name="orders.execute", shared=False)
    def lines() -> Iterator[int]:
        return (number for number in (1, 2))

    with under_test(make_test("o-1", CASE)):
        result = lines.delay()
    assert list(result.result) == [1, 2]
    assert livecheck_of(orders).flush()
    assert "a generator would be consumed" in str(arrived(case, "o-1")["executed"].error)


@pytest.mark.parametrize("value", [iter([1, 2]), {"a": 10**5000}, object()], ids=type)
def test_value_that_cannot_be_sent_fails_only_its_own_signal(case: Any, value: Any) -> None:
    with case.maybe_trigger("o-1"):
        case.sent.send(value)
    with case.maybe_trigger("o-2"):
        case.sent.send(1)
    assert case.app.flush()
    assert "signal sent (2 of 2): value cannot be sent as JSON: " in str(arrived(case, "o-1")["sent"].error)
    assert arrived(case, "o-2")["sent"].value == "1"
    if isinstance(value, Iterator):
        assert list(value) == [1, 2]


def test_half_a_surrogate_pair_is_escaped_wherever_it_is(case: Any, orders: Celery) -> None:
    @orders.task(name="orders.execute", shared=False)
    def execute() -> Any:
        return ["caf\udce9"]

    with case.maybe_trigger("caf\udce9", "caf\udce9") as test:
        case.sent.send("caf\udce9", key="caf\udce9")
        execute.apply()
    assert case.app.flush()
    assert test.id == r"caf\udce9"
    events = arrived(case, test.id)
    assert (events["sent"].value, events["executed"].value) == (r'"caf\\udce9"', r'["caf\\udce9"]')


@pytest.mark.parametrize("value", [iter([1, 2]), 10**5000, b"\xff"], ids=type)
def test_argument_that_cannot_be_sent_is_refused_and_holds_back_no_message(
    case: Any, value: Any, redis_client: redis.Redis
) -> None:
    with pytest.raises(InvalidPayload):
        case.trigger("o-1", value)
    with pytest.raises(InvalidPayload):
        case.trigger.delay("o-1", side=[value])
    with case.maybe_trigger("o-1", value) as refused:
        assert refused is None
    with case.maybe_trigger("o-2"):
        pass
    assert case.app.flush()
    assert case.app.runtime.outbox.counts == {"payload": 1}
    assert redis_client.llen("livecheck") == 1
    if isinstance(value, Iterator):
        assert list(value) == [1, 2]


def test_nan_and_infinity_reach_run_and_the_report(livecheck: LiveCheck) -> None:
    seen: list[Any] = []
    case = declare(livecheck, lambda _, *args, **kwargs: seen.extend([*args, *kwargs.values()]))
    values = [math.nan, {"a": [math.inf]}]
    sent = case.trigger("o-1", *values, side=-math.inf)
    test = EXECUTION.validate_python(json.loads(json.dumps(sent.as_message())))
    assert case.execute(test).state is State.PASS
    assert math.isnan(seen[0])
    assert seen[1:] == [{"a": [math.inf]}, -math.inf]
    [report] = reports(livecheck)
    assert report.test is not None
    assert math.isnan(report.test.test_args[0])


def test_nan_reaches_the_test_as_the_value_of_a_signal(case: Any) -> None:
    with case.maybe_trigger("o-1"):
        case.sent.send({"price": math.nan})
    assert case.app.flush()
    assert math.isnan(case.sent.decode(arrived(case, "o-1")["sent"])["price"])
