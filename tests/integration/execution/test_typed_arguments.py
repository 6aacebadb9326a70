"""Arguments of `run()` have the types of its annotations."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Optional, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel, model_validator
from typing_extensions import Unpack

from livecheck_celery import LiveCheckTestFailed, State
from livecheck_celery.execution import typed_arguments
from livecheck_celery.utils.throttle import Throttle, ThrottledLogger
from tests.helpers.faces import Face, execute


@dataclasses.dataclass
class Order:
    id: UUID
    price: Decimal


class Item(BaseModel):
    sku: str
    at: datetime


class Row(TypedDict):
    amount: int


class Refusing(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def refuse(cls, value: Any) -> Any:
        raise KeyError("no such order")


NAME = "shop.test_order"
ORDER = Order(UUID(int=7), Decimal("9.90"))
ITEM = Item(sku="a", at=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def declare(face: Face, faced: Any) -> Callable[[Callable[..., None]], Any]:
    """Declares a case with this ``run()``."""
    return lambda run: faced.add_case(type("test_order", (face.Case,), {"run": face.method(run)}), name=NAME)


@pytest.mark.promise("Arguments arrive in `run()` with the types of its annotations.", theme="cases")
def test_arguments_have_the_types_of_the_annotations(declare: Any) -> None:
    seen: list[Any] = []

    def run(  # noqa: PLR0917 - each kind of parameter
        self: Any,
        order: Order,
        item: Item,
        price: Decimal,
        rows: list[Row],
        note: Optional[datetime] = None,  # noqa: UP045 - as users write it
        *others: Order,
        plain: Any = 1.5,
        **more: Decimal,
    ) -> None:
        seen.extend([order, item, price, rows, note, others, plain, more])

    runner = execute(
        declare(run),
        ORDER,
        ITEM,
        Decimal("1.5"),
        [{"amount": 1}],
        None,
        ORDER,
        plain={"a": Decimal(1)},
        tax=Decimal("0.2"),
    )
    assert runner.state is State.PASS, runner.error
    assert seen == [ORDER, ITEM, Decimal("1.5"), [{"amount": 1}], None, (ORDER,), {"a": "1"}, {"tax": Decimal("0.2")}]


@pytest.mark.promise("An argument that does not fit `run()` is a FAIL that names it, its type and why.", theme="cases")
@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ({"id": str(UUID(int=1)), "price": "x"}, "price: Input should be a valid decimal"),
        ({}, "id: Field required; price: Field required"),
        ("text", "Input should be an object"),
        (None, "Input should be an object"),
    ],
)
def test_argument_of_another_type_is_a_fail_that_names_it(declare: Any, argument: Any, why: str) -> None:
    def run(self: Any, order: Order) -> None:
        raise AssertionError("not called")

    runner = execute(declare(run), order=argument)
    assert runner.state is State.FAIL
    assert isinstance(runner.error, LiveCheckTestFailed)
    assert runner.report.error == f"run(): argument order is not of type Order: {why}"


def test_many_wrong_parts_of_an_argument_are_one_short_line(declare: Any) -> None:
    def run(self: Any, rows: list[int], *others: int) -> None:
        raise AssertionError("not called")

    case = declare(run)
    wrong = "Input should be a valid integer, unable to parse string as an integer"
    parts = "; ".join(f"{place}: {wrong}" for place in range(5))
    error = execute(case, ["x"] * 100).report.error
    assert error == f"run(): argument rows is not of type list[int]: {parts}; and 95 more"
    assert execute(case, [], 1, "x", id="o-2").report.error == f"run(): argument others[1] is not of type int: {wrong}"


def test_default_of_an_argument_is_accepted_though_it_is_not_of_the_type(declare: Any) -> None:
    seen: list[Any] = []

    def run(self: Any, side: str = None, count: Decimal = "", orders: list[Order] = 0, last: Order = False) -> None:  # type: ignore[assignment] # noqa: RUF013
        seen.append((side, count, orders, last))

    case = declare(run)
    for number, arguments in enumerate([(), (None, "", 0, False), ("buy", Decimal(1), [], ORDER)]):
        runner = execute(case, *arguments, id=f"o-{number}")
        assert runner.state is State.PASS, runner.error
    assert seen == [(None, "", 0, False), (None, "", 0, False), ("buy", Decimal(1), [], ORDER)]
    assert execute(case, "buy", "", False, id="o-4").state is State.FAIL


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, "run(): missing a required argument: 'order'; given: 0 by position; run() takes: order, side"),
        ((1, 2, 3), {}, "run(): too many positional arguments; given: 3 by position; run() takes: order, side"),
        (
            (1,),
            {"price": 2},
            "run(): got an unexpected keyword argument 'price'; given: 1 by position, price; run() takes: order, side",
        ),
        (
            (1,),
            {"order": 2},
            "run(): multiple values for argument 'order'; given: 1 by position, order; run() takes: order, side",
        ),
    ],
)
def test_missing_or_surplus_argument_is_a_fail_that_names_it(
    declare: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: str
) -> None:
    def run(self: Any, order: int, side: str = "buy") -> None:
        raise AssertionError("not called")

    runner = execute(declare(run), *args, **kwargs)
    assert runner.state is State.FAIL
    assert runner.report.error == error


def test_type_error_inside_run_is_an_error(declare: Any) -> None:
    def run(self: Any, order: int) -> None:
        len(order)  # type: ignore[arg-type] # the error under test

    assert execute(declare(run), 1).state is State.ERROR


def test_decorator_can_add_arguments(declare: Any) -> None:
    seen: list[Any] = []

    def with_currency(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(self: Any, price: Any) -> Any:
            return function(self, price, "EUR")

        return wrapper

    @with_currency
    def run(self: Any, price: Any, currency: str) -> None:
        seen.append((price, currency))

    assert execute(declare(run), 1).state is State.PASS
    assert seen == [(1, "EUR")]


def test_arguments_without_a_usable_type_are_json_types(declare: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Local:
        pass

    class Hostile:
        @classmethod
        def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
            raise KeyError("no schema")

    seen: list[Any] = []

    def run(self: Any, a, b: Any, c: Unknown, d: Local, *, e: int, **f: Unpack[Row]) -> None:  # type: ignore[no-untyped-def, name-defined] # noqa: F821
        seen.extend([a, b, c, d, e, f])

    run.__annotations__["e"] = Hostile
    case = declare(run)
    ThrottledLogger.lines = Throttle()
    for number in range(2):
        runner = execute(case, ORDER, Decimal(1), {"x": 1}, {"y": 2}, e={"z": 3}, amount=4, id=f"o-{number}")
        assert runner.state is State.PASS, runner.error
    plain = {"id": str(UUID(int=7)), "price": "9.90"}
    assert seen == [plain, "1", {"x": 1}, {"y": 2}, {"z": 3}, {"amount": 4}] * 2
    lines = [each.getMessage() for each in caplog.records if "has JSON types" in each.getMessage()]
    assert lines[0] == (
        f"runner: case {NAME}: run(): argument c has JSON types, since its type Unknown cannot be used: "
        "NameError: name 'Unknown' is not defined"
    )
    assert len(lines) == len({line.partition(" has JSON")[0] for line in lines}), "one line a minute for an argument"


def test_types_are_read_once_and_again_while_one_cannot_be(declare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    adapter_of = typed_arguments.adapter_of
    monkeypatch.setattr(typed_arguments, "adapter_of", lambda *args: read.append(args[0]) or adapter_of(*args))
    seen: list[Any] = []

    def run(self: Any, price: Decimal, later: Later = None) -> None:  # type: ignore[name-defined] # noqa: F821
        seen.append((price, later))

    case = declare(run)
    execute(case, "1", "2")
    monkeypatch.setitem(globals(), "Later", Decimal)
    for number in range(3):
        execute(case, "1", "2", id=f"later-{number}")
    assert seen == [(Decimal(1), "2")] + [(Decimal(1), Decimal(2))] * 3
    assert read == [Decimal] * 3, "once for the first test, twice for the second"


def test_type_of_an_argument_can_be_local_to_the_function_that_declares_the_case(face: Face, faced: Any) -> None:
    @dataclasses.dataclass
    class Local:
        id: int

    def run(self: Any, local: Local, later: list[Local]) -> None:
        seen.extend([local, later])

    async def async_run(self: Any, local: Local, later: list[Local]) -> None:
        run(self, local, later)

    class Base(face.Case):
        pass

    Base.run = async_run if face.is_async else run

    @faced.case(name=NAME)
    class test_order(Base): ...

    seen: list[Any] = []
    runner = execute(test_order, {"id": "1"}, later=[{"id": 2}])
    assert runner.state is State.PASS, runner.error
    assert seen == [Local(1), [Local(2)]]


def test_validator_that_raises_is_a_fail_that_names_the_argument(declare: Any) -> None:
    def run(self: Any, order: Refusing) -> None:
        raise AssertionError("not called")

    runner = execute(declare(run), "x")
    assert runner.state is State.FAIL
    assert runner.report.error == "run(): argument order is not of type Refusing: KeyError: 'no such order'"


def test_decorated_run_has_typed_arguments(declare: Any) -> None:
    seen: list[Any] = []

    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @decorated
    def run(self: Any, order: Order) -> None:
        seen.append(order)

    runner = execute(declare(run), order=ORDER)
    assert runner.state is State.PASS, runner.error
    assert seen == [ORDER]
