"""The declaration of a case: its name and its signals."""

from __future__ import annotations

import dataclasses
import gc
import typing
import weakref
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from livecheck_celery import BaseSignal, Case, ConfigurationError, LiveCheck, Signal
from livecheck_celery.cases import declaration


@dataclasses.dataclass
class Order:
    id: int
    price: Decimal
    at: datetime


def test_declaration_does_not_evaluate_the_annotations_of_livecheck(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = set()

    def get_type_hints(holder: type, **kwargs: Any) -> dict[str, Any]:
        evaluated.add(holder.__module__)
        return typing.get_type_hints(holder, **kwargs)

    monkeypatch.setattr(declaration, "get_type_hints", get_type_hints)

    @livecheck.case()
    class test_order(Case):
        stored: Signal[str]

    assert evaluated == {__name__}, "those of Case took most of the time of a declaration"


def test_signals_are_numbered_annotated_ones_first(livecheck: LiveCheck) -> None:
    @livecheck.case()
    class test_order(livecheck.Case):
        first: Signal[str]
        second: livecheck.Signal[int]
        number: int
        by_hand = Signal[Order]()
        bare: Signal

    assert [(s.name, s.index, s.value_type) for s in test_order.signals.values()] == [
        ("first", 1, str),
        ("second", 2, int),
        ("bare", 3, Any),
        ("by_hand", 4, Order),
    ]
    assert test_order.total_signals == 4
    assert test_order.first.case is test_order
    assert isinstance(test_order.first, BaseSignal)


def test_inherited_signals_belong_to_each_case(livecheck: LiveCheck) -> None:
    class Base(Case):
        opened: Signal[str]

    @livecheck.case(name="a")
    class a(Base):
        closed: Signal[str]

    @livecheck.case(name="b")
    class b(Base): ...

    assert list(a.signals) == ["opened", "closed"]
    assert list(b.signals) == ["opened"]
    assert a.opened.case is a
    assert b.opened.case is b


def test_annotation_can_refer_to_local_names(livecheck: LiveCheck) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    @livecheck.case()
    class test_local:
        sent: Signal[Local]

    assert test_local.sent.value_type is Local


def test_annotation_of_a_base_class_can_refer_to_local_names(livecheck: LiveCheck) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    class Base(Case):
        sent: Signal[Local]

    @livecheck.case()
    class test_local(Base): ...

    assert test_local.sent.value_type is Local


def test_local_names_are_not_kept_alive_by_the_declaration(livecheck: LiveCheck) -> None:
    class Local: ...

    def declare() -> Case:
        local, unused = Local(), Local()
        alive.extend([weakref.ref(local), weakref.ref(unused)])

        @livecheck.case(name="local")
        class test_local:
            number: type(local)
            sent: Signal[int]

        return test_local

    alive: list[weakref.ref[Local]] = []
    case = declare()
    gc.collect()
    assert [local() for local in alive] == [None, None]
    assert list(case.signals) == ["sent"]


def test_annotation_that_is_not_a_signal_need_not_be_evaluable(livecheck: LiveCheck) -> None:
    @livecheck.case()
    class test_order:
        nowhere: Nowhere  # noqa: F821 - undefined on purpose
        sent: ClassVar[Signal[int]]

    assert [(signal.name, signal.value_type) for signal in test_order.signals.values()] == [("sent", int)]


def test_signal_of_an_unsupported_type_is_refused(livecheck: LiveCheck) -> None:
    class Opaque: ...

    with pytest.raises(ConfigurationError, match="case x: signal sent: .*Opaque"):

        @livecheck.case(name="x")
        class x:
            sent: Signal[Opaque]

    with pytest.raises(ConfigurationError, match="case y: signal sent: .*Nowhere"):

        @livecheck.case(name="y")
        class y:
            sent: Signal[Nowhere]  # noqa: F821 - undefined on purpose


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shop.{order}", "curly brackets"),
        ("shop.order\nFAKE LOG LINE", "printable"),
        ("shop.\x1b[31mred", "printable"),
        ("shop.\u202ereversed", "printable"),
        ("x" * 513, "1 to 512"),
        (5, "must be text"),
    ],
    ids=["braces", "newline", "escape", "direction", "length", "number"],
)
def test_name_unfit_for_keys_or_logs_is_refused(livecheck: LiveCheck, name: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        livecheck.add_case(type("test_order", (Case,), {}), name=name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a case with spaces", "Bestellung.prüfen", "日本.test", "x" * 512])
def test_other_names_are_accepted(livecheck: LiveCheck, name: str) -> None:
    assert livecheck.add_case(type("test_order", (Case,), {}), name=name).name == name
