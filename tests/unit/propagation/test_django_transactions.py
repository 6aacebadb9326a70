"""Signals of models that are saved in a transaction, on real SQLite databases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import connections, transaction
from django.dispatch import Signal
from django.test import Client, override_settings

from livecheck_celery.context import under_test
from livecheck_celery.propagation.django import Receivers, after_commit, source_name
from tests.helpers.djangosite import Customer
from tests.helpers.factories import make_test

TEST = make_test("o-1")
order_paid = Signal()

Values = list[tuple[list[Any], Any]]


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """The table of customers in both databases, on new connections."""
    for connection in connections.all():
        with connection.schema_editor() as editor:
            editor.create_model(Customer)
    yield
    for connection in connections.all():
        connection.set_autocommit(True)
        with connection.schema_editor() as editor:
            editor.delete_model(Customer)


@pytest.fixture
def reported() -> Iterator[Values]:
    """Tests and value of each signal that was reported."""
    reported: Values = []

    def operation_finished(kind: str, name: str, tests: Any, *, value: Any = None, error: str | None = None) -> None:
        reported.append((list(tests), error or value))

    receivers = Receivers(operation_finished)
    receivers.follow(
        {
            source_name("django.db.models.signals.post_save", "shop.Customer", ["name"]),
            source_name(order_paid),
        }
    )
    with under_test(TEST):
        yield reported
    receivers.follow(set())


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or a savepoint in one, whose block raises."""
    with suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


def names(reported: Values) -> list[str]:
    assert all(tests == [TEST] for tests, _ in reported)
    return [value["name"] for _, value in reported]


def test_signal_outside_a_transaction_is_reported_at_once(reported: Values) -> None:
    Customer.objects.create(name="Ada")
    assert names(reported) == ["Ada"]


@pytest.mark.promise("A signal of a rolled-back Django transaction is not sent.", theme="signals")
def test_signal_is_reported_when_its_transaction_is_committed(reported: Values) -> None:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        assert reported == []
    assert names(reported) == ["Ada"]
    with rolled_back():
        Customer.objects.create(name="Bob")
    assert names(reported) == ["Ada"]


def test_signal_of_a_rolled_back_savepoint_is_not_reported(reported: Values) -> None:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        with rolled_back():
            Customer.objects.create(name="Bob")
        with transaction.atomic():
            Customer.objects.create(name="Cy")
    assert names(reported) == ["Ada", "Cy"]


def test_signal_waits_only_for_the_transaction_of_its_database(reported: Values) -> None:
    with rolled_back():
        Customer.objects.using("archive").create(name="Ada")
        assert names(reported) == ["Ada"]
        with transaction.atomic("archive"):
            Customer.objects.using("archive").create(name="Bob")
        assert names(reported) == ["Ada", "Bob"]
    assert names(reported) == ["Ada", "Bob"]


def test_signal_of_the_application_waits_for_every_open_transaction(reported: Values) -> None:
    with transaction.atomic("archive"):
        with transaction.atomic():
            order_paid.send(sender=None, name="Ada")
        assert reported == []
    assert names(reported) == ["Ada"]
    with rolled_back():
        order_paid.send(sender=None, name="Bob")
    assert names(reported) == ["Ada"]


def test_values_are_those_at_the_time_of_the_signal(reported: Values) -> None:
    with transaction.atomic():
        customer = Customer.objects.create(name="Ada")
        customer.name = "Bob"
    assert names(reported) == ["Ada"]


def test_test_is_the_one_at_the_time_of_the_signal(reported: Values) -> None:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        under = under_test(make_test("o-2"))
        under.__enter__()
    under.__exit__(None, None, None)
    assert names(reported) == ["Ada"]


def test_signal_without_autocommit_is_reported_at_once(reported: Values) -> None:
    transaction.set_autocommit(False)
    Customer.objects.create(name="Ada")
    transaction.rollback()
    assert names(reported) == ["Ada"]


def test_signal_of_a_view_whose_request_is_rolled_back_is_not_reported(
    reported: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)
    with override_settings(MIDDLEWARE=[]):
        assert client.get("/customer/fails/").status_code == 500
        assert (Customer.objects.count(), reported) == (0, [])
        assert client.get("/customer/passes/").status_code == 201
    assert [value for _, value in reported] == [{"name": "in a view"}]


def test_without_django_it_is_called_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    with transaction.atomic():
        after_commit(lambda: called.append("after"))
        monkeypatch.delitem(sys.modules, "django.db.transaction")
        after_commit(lambda: called.append("now"))
        monkeypatch.undo()
    assert called == ["now", "after"]
