"""The LiveCheck case for orders; only the LiveCheck worker and beat import this module."""

import os
from typing import Any

from livecheck_celery import Case, LiveCheck, Signal

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")
ITEM = os.environ.get("ORDERS_ITEM", "apple")

livecheck = LiveCheck()


@livecheck.case(frequency=1.0)
class test_order(Case):
    """An order is stored, indexed and executed with the values it was placed with."""

    order_taken: Signal[dict[str, Any]] = Signal.from_request("POST", "/order/init/{item}/{quantity}/")
    order_created: Signal[dict[str, Any]] = Signal.from_request("POST", "/order/create/")
    order_stored: Signal[dict[str, Any]] = Signal.from_task("untouched_orders.tasks.store_order")
    order_indexed: Signal[dict[str, Any]] = Signal.from_task("untouched_orders.tasks.index_order")
    order_executed: Signal[int] = Signal.from_task("untouched_orders.tasks.execute_order")

    def run(self, item: str, quantity: int) -> None:
        assert self.order_created.wait(timeout=3.0)["status"] == 201
        assert self.order_taken.wait(timeout=3.0)["status"] == 200
        order = self.order_stored.wait(timeout=3.0)
        assert (order["item"], order["quantity"]) == (item, quantity)
        assert self.order_indexed.wait(timeout=3.0) == order
        assert self.order_executed.wait(timeout=3.0) > 0

    def make_fake_request(self) -> None:
        with self.maybe_trigger(item=ITEM, quantity=3):
            self.post_url(f"{URL}/order/init/{ITEM}/3/")
