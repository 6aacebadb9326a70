"""What is told of a Django model, and how models and signals are named."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from uuid import UUID

import pytest
from django.contrib.auth.signals import user_logged_in
from django.core.signals import request_finished
from django.db.models import F
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal
from djangosite import Customer, Order

from livecheck_celery import ConfigurationError
from livecheck_celery.integrations.django import fields_of, label_of, name_of

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


@pytest.mark.parametrize("sender", [None, int, "Order", "", "shop.models.Order"])
def test_other_senders_have_none(sender: object) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a model, or its label such as 'shop\.Order'"):
        label_of(sender)


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
