"""Which test a signal goes to: by default, by a key, and in nested blocks; ids and keys of any type."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import Case, ConfigurationError, LiveCheck, Signal
from livecheck_celery.context import current_test, under_test
from livecheck_celery.delivery.items import RequestedTest, SentSignal
from livecheck_celery.propagation import celery as celery_propagation
from tests.helpers.factories import BrokenStr, make_test

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture
def sent(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Case and key of each signal."""
    sent: list[tuple[str, str]] = []

    def put(item: Any) -> bool:
        if isinstance(item, SentSignal):
            sent.append((item.case_name, item.key))
        return True

    monkeypatch.setattr(livecheck.runtime.outbox, "put", put)
    monkeypatch.setattr(livecheck.runtime.outbox, "start", lambda: None)
    return sent


def declare(livecheck: LiveCheck, name: str) -> Any:
    cls = type(name, (Case,), {"__annotations__": {"sent": Signal[int]}, "__module__": "shop"})
    return livecheck.add_case(cls, name=f"shop.{name}", probability=1.0)


@pytest.fixture
def order(livecheck: LiveCheck) -> Any:
    return declare(livecheck, "test_order")


@pytest.fixture
def stock(livecheck: LiveCheck) -> Any:
    return declare(livecheck, "test_stock")


@pytest.mark.promise("In nested blocks, a signal goes to the test of its own case.", theme="signals")
def test_signal_goes_to_the_innermost_test_of_its_own_case(order: Any, stock: Any, sent: list[Any]) -> None:
    with order.maybe_trigger("1"), stock.maybe_trigger("2") as test:
        assert current_test() == test
        order.sent.send(1)
        stock.sent.send(1)
        with order.maybe_trigger("3"):
            order.sent.send(1)
            stock.sent.send(1)
        order.sent.send(1)
        order.sent.send(1, key="4")
    order.sent.send(1)
    names = ["test_order", "test_stock", "test_order", "test_stock", "test_order", "test_order"]
    assert sent == [(f"shop.{name}", key) for name, key in zip(names, ["1", "2", "3", "2", "1", "4"], strict=True)]


def test_signal_of_another_case_goes_to_the_innermost_test(order: Any, stock: Any, sent: list[Any]) -> None:
    with under_test(make_test("1", "shop.unknown")), under_test(make_test("2", "shop.other")):
        order.sent.send(1)
    assert sent == [("shop.test_order", "2")]


def test_signal_is_not_sent_to_an_expired_test(order: Any, sent: list[Any]) -> None:
    with under_test(make_test("1", order.name, expires=datetime.now(UTC) - timedelta(seconds=1))):
        order.sent.send(1)
        with pytest.raises(ConfigurationError, match="requires key="):
            order.sent.send(1, force=True)
    assert sent == []


@pytest.mark.parametrize(("key", "text"), [(42, "42"), (UUID, str(UUID)), ("o-1", "o-1"), (0, "0")])
def test_key_is_sent_as_text(order: Any, sent: list[Any], key: object, text: str) -> None:
    with order.maybe_trigger("1"):
        order.sent.send(1, key=key)
    order.sent.send(1, key=key, force=True)
    assert sent == [(order.name, text)] * 2


@pytest.mark.parametrize("key", [None, ""])
def test_empty_key_is_the_current_test(order: Any, sent: list[Any], key: object) -> None:
    with order.maybe_trigger("1"):
        order.sent.send(1, key=key)
    assert sent == [(order.name, "1")]


@pytest.mark.parametrize("key", [None, "", BrokenStr()])
def test_key_that_cannot_be_a_key_does_not_fail_the_request(
    order: Any, sent: list[Any], caplog: pytest.LogCaptureFixture, key: object
) -> None:
    order.sent.send(1, key=key, force=True)
    order.sent.send(2, key="2", force=True)
    assert sent == [(order.name, "2")]
    [line] = caplog.messages
    assert line.startswith(f"case {order.name}: failed to send signal sent; continuing")


# -- ids


@pytest.fixture
def recorded(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the tests that were triggered."""
    recorded: list[str] = []

    def put(item: RequestedTest) -> bool:
        recorded.append(item.test.id)
        return True

    def record(test: Any, **_: object) -> Any:
        recorded.append(test.id)
        return test

    monkeypatch.setattr(livecheck.runtime.outbox, "put", put)
    monkeypatch.setattr(livecheck.runtime.outbox, "start", lambda: None)
    monkeypatch.setattr(livecheck.runtime.request_store.executions, "record", record)
    monkeypatch.setattr(livecheck.runtime.publisher, "execute", lambda *_, **__: None)
    return recorded


def trigger_in_every_way(case: Any, *args: object, **kwargs: object) -> None:
    with case.maybe_trigger(*args, **kwargs):
        pass
    case.trigger(*args, **kwargs)
    case.trigger.delay(*args, **kwargs)
    case.trigger.apply_async(args, kwargs)


@pytest.mark.parametrize("given", [{}, {"id": None}, {"id": ""}])
def test_without_an_id_a_test_gets_a_new_one(order: Any, recorded: list[str], given: dict[str, object]) -> None:
    trigger_in_every_way(order, **given)
    trigger_in_every_way(order, *given.values())
    assert len({uuid.UUID(each) for each in recorded}) == 8


@pytest.mark.parametrize(("given", "text"), [(42, "42"), (UUID, str(UUID)), (0, "0")])
def test_id_is_converted_to_text(order: Any, recorded: list[str], given: object, text: str) -> None:
    trigger_in_every_way(order, given)
    assert recorded == [text] * 4


# -- long work


def test_task_with_endless_blocks_has_constant_memory(order: Any, recorded: list[str], livecheck: LiveCheck) -> None:
    app = Celery("shop", set_as_current=False)

    @app.task(name="orders.consume", shared=False)
    def task() -> None: ...

    finished: list[list[str]] = []

    class Listener:
        def listens_to(self, kind: str, name: str) -> bool:
            return (kind, name) == ("task", task.name)

        def operation_finished(self, kind: str, name: str, tests: Any, **_: object) -> None:
            finished.append([test.id for test in tests])

    listener = Listener()
    celery_propagation.add_listener(listener)
    task.push_request(id="1", is_eager=False)
    celery_propagation._before_task(task=task)
    for number in range(3_000):
        with order.maybe_trigger(str(number)):
            pass
    assert current_test() is None
    celery_propagation._report_success(sender=task, result=None)
    celery_propagation._leave_task(task=task)
    celery_propagation.remove_listener(listener)
    assert finished == [[str(number) for number in range(2_900, 3_000)]], "the latest hundred get the task's signal"
