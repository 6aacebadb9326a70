"""Short texts of values, made without running code of their classes."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecheck_celery.utils.preview import preview


class Hostile:
    """Every method that a preview could call raises."""

    def __init__(self) -> None:
        self.side, self.password, self._hidden = "buy", "hunter2", 1

    def _refuse(self, *args: Any) -> Any:
        raise AssertionError("code of the class was run")

    __repr__ = __str__ = __len__ = __iter__ = __eq__ = __bool__ = __getattr__ = __format__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class Lazy:
    """An object that is evaluated by asking for its class."""

    __class__ = property(Hostile._refuse)  # type: ignore[assignment] # as lazy objects of Django do


class HostileDict(dict):  # type: ignore[type-arg]
    __repr__ = __len__ = __iter__ = items = Hostile._refuse


class HostileList(list):  # type: ignore[type-arg]
    __repr__ = __len__ = __iter__ = Hostile._refuse


class HostileDate(dt.date):
    __repr__ = Hostile._refuse


class HostileText(str):
    __slots__ = ()
    __repr__ = __len__ = __getitem__ = __iter__ = Hostile._refuse


class Slotted:
    __slots__ = ("side",)


class Color(enum.Enum):
    RED = "red"


VALUES: list[tuple[Any, str]] = [
    (None, "None"),
    (3, "3"),
    (2.5, "2.5"),
    (True, "True"),
    (10**5000, "<int of 16610 bits>"),
    ("it's", '"it\'s"'),
    ("x" * 200, f"'{'x' * 100}'… (200 characters)"),
    (b"\x00" * 200, repr(b"\x00" * 100) + "… (200 bytes)"),
    ("half \udce9", "'half \\udce9'"),
    ([1, [2, [3, [4]]]], "[1, [2, [3, <list>]]]"),
    ((1,), "(1,)"),
    ((), "()"),
    ({1}, "{1}"),
    (frozenset({1}), "frozenset({1})"),
    (list(range(9)), "[0, 1, 2, 3, 4, 5, … 3 more]"),
    ({"side": "buy", "token": "t", 1: None}, "{'side': 'buy', 'token': ***, 1: None}"),
    (Color.RED, "Color.RED"),
    (decimal.Decimal("1.10"), "Decimal('1.10')"),
    (dt.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
    (uuid.UUID(int=1), "UUID('00000000-0000-0000-0000-000000000001')"),
    (ValueError("no price"), "ValueError('no price',)"),
    (Hostile(), "Hostile(side='buy', password=***)"),
    (HostileDict(a=1), "{'a': 1}"),
    (HostileList([1]), "[1]"),
    (HostileText("buy"), "'buy'"),
    (Slotted(), "<Slotted>"),
    (Hostile, "<class Hostile>"),
    (Lazy(), "<Lazy>"),
    (HostileDate(2026, 1, 2), "<HostileDate>"),
    ("https://ann:pw@shop/?token=t&a=1", "'https://********@shop/?token=********&a=1'"),
    (b"redis://:pw@host", "b'redis://********@host'"),
    (f"redis://{'u' * 99}:{'p' * 99}@host", "'redis://********@host'… (212 characters)"),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=[text[:20] for _, text in VALUES])
def test_value_is_shown_without_its_own_code(value: Any, text: str) -> None:
    assert preview(value) == text


def test_circular_value_is_shown() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert preview(circle) == "[[[<list>]]]"


@pytest.mark.parametrize("name", ["side", None, 3])
def test_value_of_another_name_is_shown(name: object) -> None:
    assert preview({name: "shown"}).endswith("'shown'}")


simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
values = st.recursive(
    simple, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner), max_leaves=50
)


@given(values)
def test_text_of_any_value_is_one_printable_bounded_line(value: Any) -> None:
    text = preview(value)
    assert text.isprintable()
    assert len(text) < 100_000
