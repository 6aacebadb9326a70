"""A shop with a Celery app of its own, and LiveCheck on it."""

from __future__ import annotations

import os

from celery import Celery, current_task

from livecheck_celery import Case, LiveCheck, Signal, current_test

URL = os.environ["SHOP_URL"]

app = Celery("shop", broker=URL, backend=URL, set_as_current=False)
livecheck = LiveCheck(app)


@livecheck.case(probability=1.0)
class test_order(Case):
    """Placed in a web request, stored by a task, shipped by a task of that task."""

    placed: Signal[str]
    stored: Signal[str]
    shipped: Signal[dict[str, bool]]

    def run(self, side: str) -> None:
        assert self.placed.wait(timeout=10.0) == side
        assert self.stored.wait(timeout=10.0) == side
        assert self.shipped.wait(timeout=10.0) == {"retried": True, "synthetic": False}


@livecheck.case()
class test_side(Case):
    """Tells the verdict at once; when told of a queue, the message must have come by it."""

    def run(self, side: str, queue: str = "livecheck") -> None:
        assert side == "sell", f"the side is {side}"
        came_by = current_task.request.delivery_info["routing_key"]
        assert came_by == queue, f"came by {came_by}"


@app.task(name="shop.store")
def store(side: str) -> None:
    test_order.stored.send(side)
    ship.apply_async(countdown=0.1)


@app.task(name="shop.ship", bind=True)
def ship(self) -> None:
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    test_order.shipped.send({"retried": True, "synthetic": current_test().synthetic})


@app.task(name="shop.number")
def number(order_id: str) -> str:
    """What a step of a chain hands on."""
    return order_id
