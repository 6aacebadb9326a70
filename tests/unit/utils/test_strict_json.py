"""Values are converted to JSON, or refused, without running code of the application."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import io
import ipaddress
import json
import math
import types
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from django.utils.functional import SimpleLazyObject, lazy
from django.utils.translation import gettext_lazy
from pydantic import BaseModel, TypeAdapter, computed_field
from sqlalchemy import Integer, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column
from werkzeug.local import LocalProxy

from livecheck_celery.cases.serialization import as_json, encode
from livecheck_celery.utils import strict_json
from livecheck_celery.utils.strict_json import NotStrictJson
from tests.helpers.djangosite import Order

LIMIT = 10_000


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass(slots=True)
class Slots:
    x: int


class Model(BaseModel):
    x: Any

    @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
    @property
    def twice(self) -> int:
        return 2


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - one without annotations


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, "null"),
        ({"a": [1, 1.5, True, "ü"]}, '{"a":[1,1.5,true,"ü"]}'),
        ((1, {2}, frozenset({3}), collections.deque([4])), "[1,[2],[3],[4]]"),
        (Pair(1, 2), "[1,2]"),
        ({1: "a", (2, 3): "b"}, '{"1":"a","2,3":"b"}'),
        (Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00Z"'),
        (Color.RED, '"red"'),
        (Point(1, Point(2)), '{"x":1,"y":{"x":2,"y":null}}'),
        (Slots(1), '{"x":1}'),
        (Model(x=[1]), '{"x":[1],"twice":2}'),
        (b"abc", '"abc"'),
        (Path("/a"), '"/a"'),
        (ipaddress.ip_network("10.0.0.0/8"), '"10.0.0.0/8"'),
        ([math.nan, math.inf, -math.inf], "[NaN,Infinity,-Infinity]"),
        (10**4299, str(10**4299)),
    ],
)
def test_value_with_a_json_form_is_encoded(value: Any, encoded: str) -> None:
    assert strict_json.encode(value, LIMIT).decode() == encoded


def numbers() -> Iterator[int]:
    yield from (1, 2)


async def later() -> int:
    return 1


async def many() -> AsyncIterator[int]:
    yield 1


class Remote:
    """An object that fetches every attribute it does not have."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"fetched {name}")


class Rows:
    """A query, which runs when it is iterated."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("evaluated")

    def __len__(self) -> int:
        raise AssertionError("evaluated")


def fail(*_: object) -> Any:
    raise AssertionError("evaluated")


@dataclasses.dataclass
class Computed:
    x: int

    def __post_init__(self) -> None:
        type(self).x = property(fail, lambda *_: None)  # type: ignore[assignment] # on purpose


CONSUMED: dict[str, Callable[[], Any]] = {
    "generator": numbers,
    "map": lambda: map(str, [1, 2]),
    "filter": lambda: filter(None, [1, 2]),
    "zip": lambda: zip([1, 2], [3, 4], strict=True),
    "iterator": lambda: iter([1, 2]),
    "reversed": lambda: reversed([1, 2]),
    "enumerate": lambda: enumerate([1, 2]),
    "text file": lambda: io.StringIO("a\nb"),
    "binary file": lambda: io.BytesIO(b"a\nb"),
}


@pytest.mark.parametrize("inside", [lambda value: value, lambda value: {"a": [value]}, Point, lambda x: Model(x=x)])
@pytest.mark.parametrize("make", CONSUMED.values(), ids=CONSUMED)
def test_iterator_is_refused_and_not_consumed(make: Callable[[], Any], inside: Callable[[Any], Any]) -> None:
    value = make()
    with pytest.raises(NotStrictJson, match="would be consumed; send a list"):
        strict_json.encode(inside(value), LIMIT)
    with pytest.raises(NotStrictJson, match="would be consumed; send a list"):
        strict_json.as_json_types(inside(value), LIMIT)
    assert len(list(value)) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimpleLazyObject(fail),
        lambda: LocalProxy(fail),
        lambda: gettext_lazy("order"),
        lazy(fail, str),
        Order.objects.all,
        lambda: Order.objects.raw("SELECT 1"),
        lambda: select(text("1")),
        Remote,
        Rows,
        MagicMock,
        {"a": 1}.keys,
        {"a": 1}.items,
        lambda: range(3),
        lambda: types.MappingProxyType({"a": 1}),
        object,
        lambda: memoryview(b"a"),
        lambda: ValueError("x"),
        lambda: int,
        lambda: Computed(1),
    ],
)
def test_object_that_would_be_evaluated_is_refused(make: Callable[[], Any]) -> None:
    for value in (make(), [make()], {"a": make()}):
        with pytest.raises(ValueError, match="would be evaluated|unknown type|computed"):
            strict_json.encode(value, LIMIT)


def test_coroutine_is_refused_and_can_still_be_awaited() -> None:
    coroutine = later()
    with pytest.raises(NotStrictJson, match="a coroutine would be consumed"):
        strict_json.encode(coroutine, LIMIT)
    assert asyncio.run(coroutine) == 1
    with pytest.raises(NotStrictJson, match="async_generator would be consumed"):
        strict_json.encode(many(), LIMIT)


def test_unloaded_columns_of_sqlalchemy_are_not_loaded() -> None:
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Purchase(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(Integer, primary_key=True)

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        order = Purchase(id=1)
        session.add(order)
        assert strict_json.encode(order, LIMIT) == b'{"id":1}'
        session.commit()
        with pytest.raises(NotStrictJson, match=r"Purchase\.id is computed when it is read"):
            strict_json.encode(order, LIMIT)
        result = session.execute(select(Purchase))
        with pytest.raises(NotStrictJson, match="would be consumed"):
            strict_json.encode(result, LIMIT)
        assert len(result.all()) == 1
        with pytest.raises(ValueError, match="would be evaluated"):
            strict_json.encode(session.query(Purchase), LIMIT)
    engine.dispose()


def test_value_that_contains_itself_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (cycle, {"a": cycle}):
        with pytest.raises(NotStrictJson, match="nested too deep, or contains itself"):
            strict_json.encode(value, LIMIT)


def test_value_that_repeats_itself_is_bounded() -> None:
    value: list[Any] = [0] * 10
    for _ in range(20):
        value = [value] * 10
    with pytest.raises(NotStrictJson, match="more than 10000 parts"):
        strict_json.encode(value, LIMIT)


@pytest.mark.parametrize("number", [10**4300, -(10**5000)], ids=["positive", "negative"])
def test_integer_that_other_processes_cannot_read_is_refused(number: int) -> None:
    with pytest.raises(NotStrictJson, match="more than 4300 digits"):
        strict_json.encode({"a": number}, LIMIT)


def test_bytes_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        strict_json.encode(b"\xff", LIMIT)


class Name(str):
    __slots__ = ()


@dataclasses.dataclass
class Named:
    name: str


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("caf\udce9", r"caf\udce9"),
        (Name("caf\udce9"), r"caf\udce9"),
        ({"caf\udce9": ["\ud83d", ("\ud83d", 1)]}, {r"caf\udce9": [r"\ud83d", [r"\ud83d", 1]]}),
        ([Named("caf\udce9")], [{"name": r"caf\udce9"}]),
        ("\U0001f600 caf\u00e9", "\U0001f600 caf\u00e9"),
    ],
)
def test_half_a_surrogate_pair_becomes_its_escape(value: Any, plain: Any) -> None:
    assert json.loads(strict_json.encode(value, LIMIT)) == plain
    assert json.loads(encode(TypeAdapter(Any), value, LIMIT)) == plain
    assert as_json(value, LIMIT) == plain


@pytest.mark.parametrize(("kind", "value"), [(Named, Named("caf\udce9")), (list[str], ["caf\udce9"])])
def test_half_a_surrogate_pair_in_a_typed_value_becomes_its_escape(kind: Any, value: Any) -> None:
    assert rb"caf\\udce9" in encode(TypeAdapter(kind), value, LIMIT)
