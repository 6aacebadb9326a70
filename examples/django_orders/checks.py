"""The LiveCheck case for orders."""

from typing import Any, TypedDict

from django.db.models.signals import post_save

from livecheck_celery import Case, LiveCheck, Signal

livecheck = LiveCheck()

COLUMNS = ("id", "item", "quantity", "price")


class NewOrder(TypedDict):
    id: str
    item: str
    quantity: int


@livecheck.case(probability=1.0)
class test_order(Case):
    """An order is reserved, stored, indexed and executed with the values it was placed with."""

    stock_reserved: Signal[int]
    order_created: Signal[NewOrder]
    order_stored: Signal[dict[str, Any]] = Signal.from_django(post_save, sender="django_orders.Order", fields=COLUMNS)
    order_indexed: Signal[NewOrder]
    order_executed: Signal[int] = Signal(times=1)

    def run(self, item: str, quantity: int) -> None:
        assert self.stock_reserved.wait(timeout=3.0) == quantity
        order = self.order_created.wait(timeout=3.0)
        assert (order["item"], order["quantity"]) == (item, quantity)
        stored = self.order_stored.wait(timeout=3.0)
        assert order.items() <= stored.items()
        assert self.order_indexed.wait(timeout=3.0) == order
        assert self.order_executed.wait(timeout=3.0) == stored["price"] * quantity
        assert self.order_indexed.received_at < self.order_executed.received_at, "executed before it was indexed"
