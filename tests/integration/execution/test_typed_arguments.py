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
from pydantic import BaseModel

from livecheck_celery import Case, LiveCheck, State
from tests.helpers.order_case import declare, execute


@dataclasses.dataclass
class Order:
    id: UUID
    price: Decimal


class Item(BaseModel):
    sku: str
    at: datetime


class Row(TypedDict):
    amount: int


ORDER = Order(UUID(int=7), Decimal("9.90"))
ITEM = Item(sku="a", at=datetime(2026, 1, 2, tzinfo=UTC))


def run_with(livecheck: LiveCheck, run: Callable[..., None], *args: Any, **kwargs: Any) -> Any:
    return execute(declare(livecheck, run), *args, **kwargs)


@pytest.mark.promise("Arguments arrive in `run()` with the types of its annotations.", theme="cases")
def test_arguments_have_the_types_of_the_annotations(livecheck: LiveCheck) -> None:
    seen: list[Any] = []

    def run(  # noqa: PLR0917 - each kind of parameter
        self: Case,
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

    runner = run_with(
        livecheck,
        run,
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


@pytest.mark.parametrize("argument", [{"id": "x", "price": "1"}, {}, "text", None])
def test_argument_of_another_type_is_an_error_that_names_it(livecheck: LiveCheck, argument: Any) -> None:
    def run(self: Case, order: Order) -> None:
        raise AssertionError("not called")

    runner = run_with(livecheck, run, order=argument)
    assert runner.state is State.ERROR
    [line] = str(runner.error).splitlines()
    assert line.startswith("run(): argument order: ")


def test_default_of_an_argument_is_accepted_though_it_is_not_of_the_type(livecheck: LiveCheck) -> None:
    seen: list[Any] = []

    def run(self: Case, side: str = None, count: Decimal = "", orders: list[Order] = 0, last: Order = False) -> None:  # type: ignore[assignment] # noqa: RUF013
        seen.append((side, count, orders, last))

    case = declare(livecheck, run)
    for number, arguments in enumerate([(), (None, "", 0, False), ("buy", Decimal(1), [], ORDER)]):
        runner = execute(case, *arguments, id=f"o-{number}")
        assert runner.state is State.PASS, runner.error
    assert seen == [(None, "", 0, False), (None, "", 0, False), ("buy", Decimal(1), [], ORDER)]
    assert execute(case, "buy", "", False, id="o-4").state is State.ERROR


def test_arguments_that_do_not_fit_the_signature_are_an_error(livecheck: LiveCheck) -> None:
    def run(self: Case, order: Order) -> None:
        raise AssertionError("not called")

    case = declare(livecheck, run)
    assert execute(case).state is State.ERROR
    assert execute(case, ORDER, ORDER, id="o-2").state is State.ERROR


def test_arguments_without_a_type_are_json_types(livecheck: LiveCheck) -> None:
    class Local:
        pass

    seen: list[Any] = []

    def run(self: Case, a, b: Any, c: Unknown, d: Local) -> None:  # type: ignore[no-untyped-def, name-defined] # noqa: F821
        seen.extend([a, b, c, d])

    runner = run_with(livecheck, run, ORDER, Decimal(1), {"x": 1}, {"y": 2})
    assert runner.state is State.PASS, runner.error
    assert seen == [{"id": str(UUID(int=7)), "price": "9.90"}, "1", {"x": 1}, {"y": 2}]


def test_decorated_and_async_run_have_typed_arguments(livecheck: LiveCheck) -> None:
    seen: list[Any] = []

    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @decorated
    async def run(self: Case, order: Order) -> None:
        seen.append(order)

    runner = run_with(livecheck, run, order=ORDER)
    assert runner.state is State.PASS, runner.error
    assert seen == [ORDER]
