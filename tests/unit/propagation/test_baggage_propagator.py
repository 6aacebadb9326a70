"""The propagator around the global one of OpenTelemetry: what it leaves as it was, and how it is removed."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import permutations
from typing import Any

import pytest
from opentelemetry import propagate
from opentelemetry.baggage import get_all
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator

from livecheck_celery.context import under_test
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.clients import registry as clients
from livecheck_celery.propagation.otel import instrument
from tests.helpers.baggage import ENTRY, TEST, injected
from tests.helpers.factories import make_gate
from tests.helpers.tracing import recording

pytestmark = pytest.mark.usefixtures("same_signature")


@pytest.fixture(autouse=True)
def otel() -> Iterator[None]:
    with recording():
        yield


@pytest.mark.parametrize("carrier", [[], {"baggage": 1}, {"baggage": b"livecheck-test=1"}, object()])
def test_carrier_of_another_kind_is_left_to_its_setter(carrier: Any) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    before = copy(carrier)
    propagate.inject(carrier, Context())
    assert carrier == before or type(carrier) is object


def test_no_baggage_is_sent_without_a_baggage_propagator() -> None:
    propagate.set_global_textmap(CompositePropagator([]))
    instrument(make_gate("key", hosts=["shop"]))
    with under_test(TEST):
        assert injected() == {}


def test_wrapped_propagator_keeps_its_fields_and_extract() -> None:
    before = propagate.get_global_textmap()
    instrument(make_gate("key", hosts=["shop"]))
    assert propagate.get_global_textmap().fields == before.fields
    extracted = propagate.extract({"baggage": "user=1"}, Context())
    assert get_all(extracted) == {"user": "1"}


def test_otel_can_be_instrumented_by_name() -> None:
    undo = clients.instrument("otel", make_gate("key", hosts=["shop"]))
    with under_test(TEST):
        assert injected()["baggage"] == ENTRY
    undo()
    with under_test(TEST):
        assert "baggage" not in injected()


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_missing_extra_names_the_pip_command(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def find_spec(name: str) -> None:
        if missing != name:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(clients, "find_spec", find_spec)
    with pytest.raises(ConfigurationError, match=r'otel is not installed; run: pip install "livecheck-celery\[otel\]"'):
        clients.instrument("otel", make_gate("key"))


def test_undo_restores_the_propagator() -> None:
    before = propagate.get_global_textmap()
    undo = instrument(make_gate("key", hosts=["shop"]))
    assert propagate.get_global_textmap() is not before
    undo()
    assert propagate.get_global_textmap() is before
    with under_test(TEST):
        assert "baggage" not in injected()
    undo()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_undo_in_any_order_restores_the_propagator(order: tuple[int, ...]) -> None:
    before = propagate.get_global_textmap()
    undos = [instrument(make_gate("key", hosts=["shop"])) for _ in range(3)]
    for number in order:
        with under_test(TEST):
            assert injected()["baggage"] == ENTRY
        undos[number]()
    assert propagate.get_global_textmap() is before


def test_undo_below_another_propagator_disables_ours() -> None:
    undo = instrument(make_gate("key", hosts=["shop"]))
    others = CompositePropagator([propagate.get_global_textmap()])
    propagate.set_global_textmap(others)
    undo()
    assert propagate.get_global_textmap() is others
    with under_test(TEST):
        assert "baggage" not in injected()
