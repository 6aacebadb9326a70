"""The LiveCheck case for orders; its body is that of a case for `faust.livecheck`."""

import os

from pydantic import BaseModel

from aio_orders import storage
from aio_orders.celery import app
from livecheck_celery.aio import Case, LiveCheck, Signal

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")  # base URL of the shop

livecheck = LiveCheck(app)


class Order(BaseModel):
    id: str
    side: str
    quantity: int


@livecheck.case(probability=1.0, frequency=5.0, warn_stalled_after=60.0)
class test_order(Case):
    """An order is saved, queued, cached and executed, on the side on which it was placed."""

    order_saved: Signal[Order]
    order_queued: Signal[None]
    order_cached: Signal[None]
    order_executed: Signal[str]

    async def run(self, side: str) -> None:
        order = await self.order_saved.wait(timeout=10.0)
        assert self.current_test is not None
        assert order.id == self.current_test.id, "the order of another test was saved"
        assert order.side == side, f"asked to {side}, saved as {order.side}"

        await self.order_queued.wait(timeout=10.0)

        await self.order_cached.wait(timeout=10.0)
        assert await storage.is_cached(order.id), "order_cached was sent, but the order is not in the cache"

        receipt = await self.order_executed.wait(timeout=10.0)
        assert receipt == f"{side}-{order.id}", f"the receipt is {receipt}"

    async def make_fake_request(self) -> None:
        await self.post_url(f"{URL}/orders/sell/")
