"""Cases as users write them, in a module whose assertions pytest does not rewrite; see `pytestmark` of its users."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from typing import Any

from livecheck_celery import Case, Signal, aio


class Side(Enum):
    BUY = "buy"


@dataclass
class Order:
    side: str
    amount: int
    password: str = "hunter2"


class Response:
    """Counts what is called."""

    def __init__(self) -> None:
        self.status_code = 400
        self.calls = 0

    def json(self, **options: Any) -> dict[str, Any]:
        self.calls += 1
        return {"status": 400, "token": "hunter2", "items": list(range(100))}

    def __repr__(self) -> str:
        raise ZeroDivisionError

    @property
    def reads(self) -> int:
        self.calls += 1
        return self.calls


class Plain(Case):
    sent: Signal[int]
    done: Signal[str]

    def compare_call(self) -> None:
        response = Response()
        assert response.json()["status"] == 201

    def compare_attributes(self) -> None:
        order, side = Order("buy", 3), "sell"
        assert order.side == side

    def compare_tuples(self) -> None:
        order, expected = Order("buy", 3), ("sell", 3)
        assert (order.side, order.amount) == expected

    def compare_with_message(self) -> None:
        order = Order("buy", 3)
        assert order.side == "sell", f"the side of {order.amount}"

    def compare_with_values_in_message(self) -> None:
        order, side = Order("buy", 3), "sell"
        assert order.side == side, f"{order.side}, not {side}"

    def compare_in_a_loop(self) -> None:
        for number in (1, 2, 3):
            assert is_odd(number) or number == 2 or (is_odd(number) and is_odd(number)), "even"
            assert number < 2 or (number < 3 and is_odd(number))

    def compare_over_lines(self) -> None:
        order = Order("buy", 3)
        assert order.side == "sell"

    def compare_url(self) -> None:
        url = "http://ann:hunter2@127.0.0.1:1/orders?token=hunter3"
        assert url == "http://ann:hunter2@127.0.0.1:1/"

    def compare_secret(self) -> None:
        order = Order("buy", 3)
        api_key = "hunter2"
        response = Response()
        assert order.password == api_key == response.json()["token"] + "!"
        assert order == api_key

    def compare_property(self) -> None:
        response = Response()
        assert response.reads == response.calls + 1

    def compare_object(self) -> None:
        response, side = Response(), Side.BUY
        assert response is side

    def compare_big_values(self) -> None:
        text, numbers, number = "x" * 100_000, list(range(100_000)), 10**5_000
        assert text == numbers == number

    def compare_hostile_text(self) -> None:
        text = "\x1b[31mred\nFAKE LOG LINE"
        assert not text

    def compare_in_scopes(self) -> None:
        orders = [Order("buy", 1)]
        assert all(order.side == "sell" for order in orders)

    def compare_comprehension(self) -> None:
        amounts = [1, 2]
        assert [amount * 2 for amount in amounts] == [2, 5]

    def compare_second_of_a_line(self) -> None:
        side, amount = "buy", 3
        assert side == "buy"; assert amount == 4  # noqa: E702 # fmt: skip

    def compare_first_of_a_line(self) -> None:
        side, amount = "buy", 3
        assert side == "sell"; assert amount == 3  # noqa: E702 # fmt: skip

    def compare_executed_text(self) -> None:
        exec("amount = 3\nassert amount == 4")

    def compare_in_a_helper(self) -> None:
        check_side(Order("buy", 3))

    def compare_in_a_nested_function(self) -> None:
        expected = 2

        def check(number: int) -> None:
            assert half(number) == expected

        check(2)

    def compare_keywords(self) -> None:
        response = Response()
        assert response.json(deep=half(4))["items"][half(6)] == 1

    def compare_with_walrus(self) -> None:
        assert (found := half(4)) == 3
        assert found

    def raise_error(self) -> None:
        order: dict[str, Any] = {}
        assert order["sales_channel"]

    def raise_in_library(self) -> None:
        functools.reduce(lambda a, b: a[b], ["sales_channel"], {})

    def wait_then_fail(self) -> None:
        assert self.sent.wait(timeout=5) == 7
        amount = 3
        assert amount == 4

    def wait_then_raise(self) -> None:
        self.sent.wait(timeout=5)
        raise ValueError("no price")

    def wait_for_another(self) -> None:
        self.sent.wait(timeout=5)
        self.done.wait(timeout=0.01)


def is_odd(number: int) -> bool:
    return number % 2 == 1


def half(number: int) -> int:
    return number // 2


class Awaiting(aio.Case):
    """As `Plain`, in the asyncio face."""

    sent: aio.Signal[int]

    async def compare_awaited(self) -> None:
        assert await answer() == 201


async def answer() -> int:
    return 400


def check_side(order: Order) -> None:
    assert order.side.upper() == "SELL"
