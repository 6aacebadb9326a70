"""A shop with a Celery app of its own, and LiveCheck on it."""

from __future__ import annotations

import os

from celery import Celery, current_task
from celery.schedules import crontab

from livecheck_celery import Case, LiveCheck, Signal, current_test

URL = os.environ["SHOP_URL"]

app = Celery("shop", broker=URL, backend=URL, set_as_current=False)
livecheck = LiveCheck(app)


@livecheck.case(probability=1.0, frequency=crontab(minute=0, hour="*/2"))
class test_order(Case):
    """Placed in a web request, stored by one task, shipped by a task of that task."""

    placed: Signal[str]
    stored: Signal[str]
    shipped: Signal[dict[str, bool]]

    def run(self, side: str) -> None:
        assert self.placed.wait(timeout=10.0) == side
        assert self.stored.wait(timeout=10.0) == side
        synthetic = self.shipped.wait(timeout=10.0)["synthetic"]
        assert synthetic == current_test().synthetic

    def make_fake_request(self) -> None:
        app.send_task("shop.place", ["sell"])


@livecheck.case()
class test_side(Case):
    """Says at once whether the side is right."""

    def run(self, side: str, queue: str | None = None) -> None:
        assert side == "sell", f"the side is {side}"
        if queue is not None:
            assert current_task.request.delivery_info["routing_key"] == queue


@app.task(name="shop.place")
def place(side: str) -> None:
    """What a web request does, where the fake one comes in."""
    with test_order.maybe_trigger(None, side):
        test_order.placed.send(side)
        store.delay(side)


@app.task(name="shop.store")
def store(side: str) -> None:
    test_order.stored.send(side)
    ship.apply_async(countdown=0.1)


@app.task(name="shop.ship", bind=True)
def ship(self) -> None:
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    test_order.shipped.send({"synthetic": current_test().synthetic})


@app.task(name="shop.name")
def name(test_id: str) -> str:
    return test_id
