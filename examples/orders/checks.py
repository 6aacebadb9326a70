"""The LiveCheck case for orders.

LIVECHECK_CASES=orders.checks celery -A livecheck_celery worker
"""

import random

from livecheck_celery import Case, LiveCheck, Signal
from orders import config
from orders.models import Execution, Order, Side, StoredOrder

livecheck = LiveCheck()


@livecheck.case(
    probability=0.5,  # of all real orders
    frequency=2.0,  # and one fake order every two seconds
    warn_stalled_after=30.0,
    test_expires=60.0,
    url_timeout_total=5.0,
    url_error_retries=2,
)
class test_order(Case):
    """An order is stored, indexed and executed with the values it was placed with."""

    order_received: Signal[Order]
    order_stored: Signal[StoredOrder]
    order_indexed: Signal[StoredOrder]
    order_executed: Signal[Execution]

    def run(self, side: str) -> None:
        order = self.order_received.wait(timeout=3.0)
        assert order.side == side, f"the request said {side}, the order says {order.side}"

        stored = self.order_stored.wait(timeout=3.0)
        assert stored.id == order.id, f"order {order.id} was stored as order {stored.id}"
        assert stored.side == order.side, f"a {order.side} order was stored as a {stored.side} order"
        assert stored.price == order.price, f"the price was {order.price}, but {stored.price} was stored"
        assert stored.quantity == order.quantity, f"the quantity was {order.quantity}, but {stored.quantity} was stored"

        entry = self.order_indexed.wait(timeout=3.0)
        wrong = [name for name, value in entry if name != "executed_at" and value != getattr(stored, name)]
        assert not wrong, f"the index entry differs from the database row in {', '.join(wrong)}"

        execution = self.order_executed.wait(timeout=3.0)
        assert execution.order_id == order.id, f"order {order.id} was executed as order {execution.order_id}"
        assert execution.side == order.side, f"a {order.side} order was executed as a {execution.side} order"
        total = order.price * order.quantity
        assert execution.total == total, (
            f"{order.quantity} at {order.price} is {total}, but {execution.total} was executed"
        )
        assert execution.executed_at >= stored.stored_at, "the order was executed before it was stored"

    def make_fake_request(self) -> None:
        self.post_url(f"{config.URL}/order/init/{random.choice(list(Side))}/")
