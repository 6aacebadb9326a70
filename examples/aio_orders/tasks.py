"""The Celery tasks: where a Faust application has topics and agents."""

from typing import Any

from aio_orders import storage
from aio_orders.celery import app
from aio_orders.checks import Order, test_order
from livecheck_celery import is_synthetic

PRICES = {"buy": 333, "sell": 330}  # cents


@app.task
def save_order(fields: dict[str, Any]) -> None:
    order = Order.model_validate(fields)
    storage.save(order.id, order.model_dump_json())
    test_order.order_saved.send(Order.model_validate_json(storage.load(order.id)))

    execute_order.delay(order.id)
    test_order.order_queued.send()

    storage.add_to_cache(order.id, order.model_dump_json())
    test_order.order_cached.send()


@app.task
def execute_order(order_id: str) -> None:
    order = Order.model_validate_json(storage.load(order_id))
    cents = PRICES[order.side] * order.quantity
    if not is_synthetic():  # fake orders are not charged
        storage.charge(order.id, cents)
    test_order.order_executed.send(f"{order.side}-{order.id}")
