"""Django signals as sources: their names, and the values that they report."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery import signals as celery_signals
from django.contrib.auth.signals import user_logged_in
from django.core.signals import request_finished
from django.db.models import F
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from livecheck_celery import ConfigurationError
from livecheck_celery.context import under_test
from livecheck_celery.propagation.django import Receivers, label_of, name_of, source_name
from livecheck_celery.propagation.django_values import fields_of, value_of
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


ALL = ("number", "customer", "price", "placed_at", "photo", "signature", "extra", "ratio")


@pytest.mark.promise("Of a Django model, only the primary key is sent, or the fields asked for.", theme="input")
def test_value_is_the_primary_key_or_the_fields_asked_for() -> None:
    assert fields_of(order()) == {"number": str(NUMBER)}
    assert fields_of(Customer(id=7, name="Ada")) == {"id": 7}
    assert fields_of(Customer(id=7, name="Ada"), ["pk", "name"]) == {"pk": 7, "name": "Ada"}
    assert fields_of(order(), ALL) == {
        "number": "12345678-1234-5678-1234-567812345678",
        "customer": 7,
        "price": "9.50",
        "placed_at": "2026-01-02T03:04:05Z",
        "photo": "a.jpg",
        "signature": "_w==",
        "extra": {"a": 1},
        "ratio": 0.0,
    }


def test_secrets_are_masked_by_their_names() -> None:
    assert fields_of(Customer(id=7), ["password"]) == {"password": "********"}
    extra = {"api_key": "x", "cards": [{"cvv": 1, "number": "4"}], "shipping": "fast", "note": None, "Token": None}
    assert fields_of(order(extra=extra), ["extra"])["extra"] == {
        "api_key": "********",
        "cards": [{"cvv": "********", "number": "4"}],
        "shipping": "fast",
        "note": None,
        "Token": None,
    }


def test_values_without_json_form_become_strings() -> None:
    itself: list[object] = []
    itself.append(itself)
    odd = order(price=F("price") + 1, signature=memoryview(b"\xff"), extra=itself)
    fields = fields_of(odd, ["price", "signature", "extra"])
    assert fields == {"price": "F(price) + Value(1)", "signature": "_w==", "extra": "[[...]]"}


def test_deferred_fields_are_left_out_without_a_query() -> None:
    partial = Order.from_db("default", ["number", "customer_id"], [NUMBER, 7])
    assert fields_of(partial, ALL) == {"number": str(NUMBER), "customer": 7}


def test_unknown_field_is_named() -> None:
    with pytest.raises(AttributeError, match=r"shop\.Customer has no column 'status'; choose from: id, name, password"):
        fields_of(Customer(id=7), ["status"])


def test_arguments_of_a_signal_without_an_instance_are_sent_without_running_anything() -> None:
    def fail() -> Any:
        raise AssertionError("evaluated")

    sent = {
        "signal": post_save,
        "request": HttpRequest(),
        "user": SimpleLazyObject(fail),
        "customer": Customer(id=7),
        "orders": Order.objects.all(),
        "credentials": {"username": "ada", "password": "x"},
        "amount": Decimal("1.50"),
    }
    assert value_of(sent) == {
        "request": "<HttpRequest>",
        "user": "<SimpleLazyObject>",
        "customer": 7,
        "orders": "<QuerySet>",
        "credentials": "********",
        "amount": "1.50",
    }
    assert value_of(sent, ["amount"]) == {"amount": "1.50"}
    with pytest.raises(AttributeError, match="no argument 'total'"):
        value_of(sent, ["total"])


def test_label_of_models() -> None:
    assert label_of(Order) == label_of("shop.Order") == label_of(order()) == "shop.Order"


def test_label_of_other_senders_is_the_class_name() -> None:
    assert label_of(int) == "int"
    assert label_of(SimpleNamespace()) == "SimpleNamespace"


@pytest.mark.parametrize("sender", ["Order", "", "shop.models.Order"])
def test_sender_string_that_is_not_a_label_is_rejected(sender: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a model, or its label such as 'shop\.Order'"):
        source_name(post_save, sender)


@pytest.mark.parametrize("fields", ["status", ["a b"], [1], ["a,b"]])
def test_fields_that_are_not_names_are_rejected(fields: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a list of names, such as \['status'\]"):
        source_name(post_save, Order, fields)


SAVED = "django.db.models.signals.post_save shop.Order"
TEST = make_test("o-1")


@pytest.fixture
def finished() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def receivers(finished: list[tuple[Any, ...]]) -> Iterator[Receivers]:
    def operation_finished(kind: str, name: str, tests: Any, *, value: Any = None, error: str | None = None) -> None:
        finished.append((kind, name, list(tests), value, error))

    receivers = Receivers(operation_finished)
    yield receivers
    receivers.follow(set())


def test_followed_signal_sent_in_a_test_is_reported(receivers: Receivers, finished: list[tuple[Any, ...]]) -> None:
    assert source_name(post_save, Order) == source_name(post_save, "shop.Order") == SAVED
    receivers.follow({SAVED, "no.such.module.signal", "os.path"})
    saved = order()
    post_save.send(sender=Order, instance=saved, created=True)
    with under_test(TEST):
        post_save.send(sender=Customer, instance=saved.customer, created=True)
        post_save.send(sender=Order, instance=saved, created=True)
        post_delete.send(sender=Order, instance=saved)
    assert finished == [("django", SAVED, [TEST], fields_of(saved), None)]


def test_fields_asked_for_are_part_of_the_source(receivers: Receivers, finished: list[tuple[Any, ...]]) -> None:
    of_customers = source_name(post_save, Customer, ["name", "password"])
    of_any = source_name(post_save, fields=["pk"])
    receivers.follow({of_customers, of_any})
    with under_test(TEST):
        post_save.send(sender=Customer, instance=Customer(id=7, name="Ada"), created=True)
        post_save.send(sender=Order, instance=order(), created=True)
    found = [(name, value) for _, name, _, value, _ in finished]
    assert sorted(found, key=str) == [
        (of_any, {"pk": str(NUMBER)}),
        (of_any, {"pk": 7}),
        (of_customers, {"name": "Ada", "password": "********"}),
    ]


def test_unfollowed_signal_is_not_reported(receivers: Receivers, finished: list[tuple[Any, ...]]) -> None:
    receivers.follow({SAVED})
    receivers.follow({SAVED, source_name(user_logged_in)})
    with under_test(TEST):
        user_logged_in.send(sender=Customer, request=None, user=3)
    receivers.follow({source_name(user_logged_in)})
    with under_test(TEST):
        post_save.send(sender=Order, instance=order(), created=True)
    assert [(name, value) for _, name, _, value, _ in finished] == [
        ("django.contrib.auth.signals.user_logged_in", {"request": None, "user": 3})
    ]


class Unreadable:
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_error_in_reading_an_instance_is_reported_and_not_raised(
    receivers: Receivers, finished: list[tuple[Any, ...]]
) -> None:
    receivers.follow({SAVED})
    broken = order()
    vars(broken)["number"] = Unreadable()
    with under_test(TEST):
        post_save.send(sender=Order, instance=broken, created=True)
    [(_, _, tests, _, error)] = finished
    assert tests == [TEST]
    assert "failed to read its value: ZeroDivisionError" in str(error)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Loaded modules of a shop."""
    modules = {name: ModuleType(name) for name in ("aaa.models", "aaa.signals", "shop.signals", "__main__")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


def test_signal_name_prefers_djangos_own_modules(loaded: dict[str, ModuleType]) -> None:
    for module in loaded.values():
        vars(module).update(post_save=post_save, order=post_delete)
    assert name_of(post_save) == "django.db.models.signals.post_save"
    assert name_of(post_delete) == "django.db.models.signals.post_delete"
    assert name_of(user_logged_in) == "django.contrib.auth.signals.user_logged_in"
    assert name_of(request_finished) == "django.core.signals.request_finished"


def test_signal_name_prefers_modules_named_signals(loaded: dict[str, ModuleType]) -> None:
    paid = Signal()
    vars(loaded["aaa.models"])["paid"] = paid
    assert name_of(paid) == "aaa.models.paid"
    vars(loaded["shop.signals"])["paid"] = paid
    assert name_of(paid) == "shop.signals.paid"


def test_signal_without_import_path_is_rejected(loaded: dict[str, ModuleType]) -> None:
    signal = Signal()
    vars(loaded["__main__"])["paid"] = signal
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        name_of(signal)


@pytest.mark.parametrize(
    "path",
    [
        "celery.signals.before_task_publish",
        "celery.signals.task_success",
        "django.dispatch.Signal",
        "django.db.models.signals.ModelSignal",
        "django.db.models.signals.nothing",
        "tests.unit.propagation.lazy_module.anything",
        "os.livecheck_connectable",
        "sys",
        "",
        ".",
    ],
)
def test_only_real_django_signals_of_loaded_modules_are_connected(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was computed")

    class Connectable:
        def connect(self, *args: Any, **options: Any) -> None:
            raise AssertionError("connected")

    monkeypatch.setitem(sys.modules, "tests.unit.propagation.lazy_module", Lazy("lazy_module"))
    monkeypatch.setattr(os, "livecheck_connectable", Connectable(), raising=False)
    finished: list[Any] = []
    receivers = Receivers(lambda *args, **options: finished.append(args))
    before = list(celery_signals.before_task_publish.receivers or ())
    receivers.follow({path, f"{path} shop.Order", f"{path} * password"})
    assert receivers._disconnect == {}
    assert list(celery_signals.before_task_publish.receivers or ()) == before
