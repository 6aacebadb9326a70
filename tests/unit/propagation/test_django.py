"""What is told of a Django model, and how models and signals are named."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.signals import user_logged_in
from django.core.signals import request_finished
from django.db.models import F
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal

from livecheck_celery import ConfigurationError
from livecheck_celery.context import under_test
from livecheck_celery.propagation.django import Receivers, fields_of, label_of, name_of, source_name
from tests.helpers.djangosite import Customer, Order
from tests.helpers.factories import make_test

NUMBER = UUID("12345678-1234-5678-1234-567812345678")


def order(**fields: object) -> Order:
    placed_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    values = {
        "price": Decimal("9.50"),
        "placed_at": placed_at,
        "photo": "a.jpg",
        "signature": b"\xff",
        "extra": {"a": 1},
    }
    return Order(number=NUMBER, customer=Customer(id=7), **(values | fields))


def test_columns_are_told_as_json() -> None:
    assert fields_of(order()) == {
        "number": "12345678-1234-5678-1234-567812345678",
        "customer_id": 7,
        "price": "9.50",
        "placed_at": "2026-01-02T03:04:05Z",
        "photo": "a.jpg",
        "signature": "_w==",
        "extra": {"a": 1},
        "ratio": 0.0,
    }


def test_what_has_no_json_form_is_told_in_words() -> None:
    itself: list[object] = []
    itself.append(itself)
    fields = fields_of(order(price=F("price") + 1, signature=memoryview(b"\xff"), extra=itself))
    told = {name: fields[name] for name in ("price", "signature", "extra")}
    assert told == {"price": "F(price) + Value(1)", "signature": "_w==", "extra": "[[...]]"}


def test_what_was_not_loaded_is_left_out_and_not_asked_for() -> None:
    partial = Order.from_db("default", ["number", "customer_id"], [NUMBER, 7])
    assert fields_of(partial) == {"number": str(NUMBER), "customer_id": 7}


def test_models_have_labels() -> None:
    assert label_of(Order) == label_of("shop.Order") == label_of(order()) == "shop.Order"


def test_other_senders_go_by_their_names() -> None:
    assert label_of(int) == "int"
    assert label_of(SimpleNamespace()) == "SimpleNamespace"


@pytest.mark.parametrize("sender", ["Order", "", "shop.models.Order"])
def test_a_text_that_is_no_label_is_refused(sender: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a model, or its label such as 'shop\.Order'"):
        source_name(post_save, sender)


SAVED = "django.db.models.signals.post_save shop.Order"
TEST = make_test("o-1")


@pytest.fixture
def told() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def receivers(told: list[tuple[Any, ...]]) -> Iterator[Receivers]:
    def happened(kind: str, name: str, tests: Any, *, value: Any = None, error: str | None = None) -> None:
        told.append((kind, name, list(tests), value, error))

    receivers = Receivers(happened)
    yield receivers
    receivers.follow(set())


@pytest.mark.promise("`Signal.from_django` is sent with a Django signal.", theme="signals")
def test_a_wanted_signal_that_is_sent_in_a_test_is_told(receivers: Receivers, told: list[tuple[Any, ...]]) -> None:
    assert source_name(post_save, Order) == source_name(post_save, "shop.Order") == SAVED
    receivers.follow({SAVED, "no.such.module.signal", "os.path"})
    saved = order()
    post_save.send(sender=Order, instance=saved, created=True)
    with under_test(TEST):
        post_save.send(sender=Customer, instance=saved.customer, created=True)
        post_save.send(sender=Order, instance=saved, created=True)
        post_delete.send(sender=Order, instance=saved)
    assert told == [("django", SAVED, [TEST], fields_of(saved), None)]


def test_a_signal_that_is_no_longer_wanted_is_not_told(receivers: Receivers, told: list[tuple[Any, ...]]) -> None:
    receivers.follow({SAVED})
    receivers.follow({SAVED, source_name(user_logged_in)})
    with under_test(TEST):
        user_logged_in.send(sender=Customer, request=None, user=3)
    receivers.follow({source_name(user_logged_in)})
    with under_test(TEST):
        post_save.send(sender=Order, instance=order(), created=True)
    assert [(name, value) for _, name, _, value, _ in told] == [
        ("django.contrib.auth.signals.user_logged_in", {"request": None, "user": 3})
    ]


def test_an_instance_that_cannot_be_told_breaks_no_save(receivers: Receivers, told: list[tuple[Any, ...]]) -> None:
    receivers.follow({SAVED})
    broken = order()
    vars(broken).pop("number")
    vars(broken)["get_deferred_fields"] = lambda: 1 / 0
    with under_test(TEST):
        post_save.send(sender=Order, instance=broken, created=True)
    [(_, _, tests, _, error)] = told
    assert tests == [TEST]
    assert "cannot be told: ZeroDivisionError" in str(error)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Modules of a shop, loaded."""
    modules = {name: ModuleType(name) for name in ("aaa.models", "aaa.signals", "shop.signals", "__main__")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


def test_signals_are_named_by_where_they_are(loaded: dict[str, ModuleType]) -> None:
    for module in loaded.values():
        vars(module).update(post_save=post_save, order=post_delete)
    assert name_of(post_save) == "django.db.models.signals.post_save"
    assert name_of(post_delete) == "django.db.models.signals.post_delete"
    assert name_of(user_logged_in) == "django.contrib.auth.signals.user_logged_in"
    assert name_of(request_finished) == "django.core.signals.request_finished"


def test_signals_of_ones_own_are_named_by_a_module_called_signals_first(loaded: dict[str, ModuleType]) -> None:
    paid = Signal()
    vars(loaded["aaa.models"])["paid"] = paid
    assert name_of(paid) == "aaa.models.paid"
    vars(loaded["shop.signals"])["paid"] = paid
    assert name_of(paid) == "shop.signals.paid"


def test_a_signal_that_cannot_be_imported_is_refused(loaded: dict[str, ModuleType]) -> None:
    signal = Signal()
    vars(loaded["__main__"])["paid"] = signal
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        name_of(signal)
