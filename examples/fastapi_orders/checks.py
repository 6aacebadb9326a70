"""The LiveCheck case for orders."""

from pydantic import BaseModel

from livecheck_celery import Case, LiveCheck, Signal

livecheck = LiveCheck()


class Order(BaseModel):
    id: str
    item: str
    quantity: int


@livecheck.case(probability=1.0)
class test_order(Case):
    """An order is reserved, stored, indexed and executed with the values it was placed with."""

    stock_reserved: Signal[int]
    order_created: Signal[Order]
    order_stored: Signal[Order]
    order_indexed: Signal[Order]
    order_executed: Signal[int]

    def run(self, item: str, quantity: int) -> None:
        assert self.stock_reserved.wait(timeout=3.0) >= 0, "more was reserved than is in stock"
        order = self.order_created.wait(timeout=3.0)
        assert (order.item, order.quantity) == (item, quantity)
        assert self.order_stored.wait(timeout=3.0) == order
        assert self.order_indexed.wait(timeout=3.0) == order
        assert self.order_executed.wait(timeout=3.0) > 0
