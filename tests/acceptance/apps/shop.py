"""The app of a host, and LiveCheck on it."""

from __future__ import annotations

import os

from celery import Celery, current_task

from livecheck_celery import Case, LiveCheck, Signal, current_test, is_synthetic

URL = os.environ["SHOP_URL"]

app = Celery("shop", broker=URL, backend=os.environ.get("SHOP_BACKEND", URL), set_as_current=False)
livecheck = LiveCheck(app)


@livecheck.case(probability=1.0)
class test_order(Case):
    """Tests an order that is placed in a web request, stored by a task, and shipped by a child task."""

    placed: Signal[str]
    stored: Signal[str]
    shipped: Signal[dict[str, bool]]

    def run(self, side: str) -> None:
        assert self.placed.wait(timeout=10.0) == side
        assert self.stored.wait(timeout=10.0) == side
        assert self.shipped.wait(timeout=10.0) == {"retried": True, "synthetic": False}


@livecheck.case()
class test_side(Case):
    """Passes if the side is "sell" and the message was delivered by ``queue``."""

    def run(self, side: str, queue: str = "livecheck") -> None:
        assert side == "sell", f"the side is {side}"
        used = current_task.request.delivery_info["routing_key"]
        assert used == queue, f"delivered by {used}"


@livecheck.case()
class test_held(Case):
    """Waits for the signal "go"; passes if the message had the options with which the test was triggered."""

    go: Signal[str]

    def run(self, queue: str) -> None:
        request = current_task.request
        used = {"queue": request.delivery_info["routing_key"], "priority": request.delivery_info["priority"]}
        assert self.go.wait(timeout=60.0) == "go"
        assert used == {"queue": queue, "priority": 6 if queue == "eu" else 0}, f"delivered with {used}"


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
    """Return the id, for the next step of a chain."""
    return order_id


@app.task(name="shop.asks")
def asks() -> bool:
    return is_synthetic()
