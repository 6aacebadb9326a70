"""Finished operations as items of the outbox."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from livecheck_celery.delivery.automatic_signals import AutomaticSignals
from livecheck_celery.delivery.items import FinishedOperation, SentSignal
from livecheck_celery.models import NULL
from livecheck_celery.propagation.sources import Source, SourceIndex
from tests.helpers.factories import make_test

SOURCES = SourceIndex({"shop.test_order": {"stored": ("task", "orders.store")}})
TEST = make_test()


class Recorder:
    """An AutomaticSignals that limits values to 20 bytes, and the items it puts into the outbox."""

    def __init__(self, sources: SourceIndex | None) -> None:
        self.items: list[FinishedOperation] = []
        shared_config: Any = SimpleNamespace(sources=sources)
        outbox: Any = SimpleNamespace(put=self.items.append)
        self.signals = AutomaticSignals(shared_config, outbox, max_payload=20)

    def finish(self, name: str = "orders.store", **outcome: Any) -> list[FinishedOperation]:
        self.signals.operation_finished("task", name, [TEST], **outcome)
        return self.items


def test_value_of_a_source_is_put_as_json() -> None:
    assert Recorder(SOURCES).finish(value={"id": 7}) == [
        FinishedOperation(Source("task", "orders.store"), (TEST,), '{"id":7}', None)
    ]


def test_error_of_a_source_is_put_without_a_value() -> None:
    [item] = Recorder(SOURCES).finish(value=1, error="task orders.store raised ValueError")
    assert (item.value, item.error) == ("null", "task orders.store raised ValueError")


def test_error_is_cut_and_counts_against_the_outbox() -> None:
    [item] = Recorder(SOURCES).finish(error="task orders.store raised " + "x" * 30_000_000)
    assert item.error is not None
    assert (len(item.error), item.size) == (2_000, 2_000 + len("null") + len("orders.store"))
    signal = SentSignal("stored", "shop.test_order", "o-1", NULL, "x" * 2_000)
    assert signal.size == 2_000 + len("null")


def test_operation_outside_a_test_is_not_put() -> None:
    recorder = Recorder(SOURCES)
    recorder.signals.operation_finished("task", "orders.store", [])
    assert recorder.items == []


def test_operation_that_is_not_a_source_is_not_put() -> None:
    assert Recorder(SOURCES).finish("orders.other") == []


def test_every_operation_is_put_until_the_sources_are_known() -> None:
    assert len(Recorder(None).finish("orders.other")) == 1


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), "task orders.store: its value cannot be sent as JSON: "),
        ("x" * 20, "task orders.store: its value is 22 bytes, over the limit of 20 (livecheck_max_payload)"),
    ],
)
def test_value_that_cannot_be_sent_becomes_an_error(value: object, error: str) -> None:
    [item] = Recorder(SOURCES).finish(value=value)
    assert item.value == "null"
    assert str(item.error).startswith(error)
