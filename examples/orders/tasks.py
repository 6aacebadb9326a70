"""The Celery worker: stores an order, then indexes and executes it.

celery -A orders.tasks worker -P threads -c 20
"""

import time
from typing import Any

from celery import Celery

from orders import config, storage
from orders.checks import test_order
from orders.config import broken
from orders.models import Execution, Order, StoredOrder

app = Celery("orders", broker=config.REDIS_URL)
app.conf.update(
    task_default_queue="orders",
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task
def store_order(fields: dict[str, Any]) -> None:
    order = Order.model_validate(fields)
    side = order.side.other() if broken("side") else order.side
    storage.add(StoredOrder(**order.model_dump(exclude={"side"}), side=side, stored_at=time.time()))
    test_order.order_stored.send(storage.get(order.id))

    index_order.delay(order.id)
    if not broken("lost"):
        execute_order.delay(order.id)


@app.task
def index_order(order_id: str) -> None:
    if broken("slow"):
        time.sleep(4)
    order = storage.get(order_id)
    price = order.price - 1 if broken("cache") else order.price
    storage.add_to_index(order.model_copy(update={"price": price}))
    test_order.order_indexed.send(storage.get_from_index(order_id))


@app.task
def execute_order(order_id: str) -> None:
    order = storage.get(order_id)
    now = time.time()
    storage.change(order_id, executed_at=now)
    test_order.order_executed.send(
        Execution(order_id=order_id, side=order.side, total=order.price * order.quantity, executed_at=now)
    )
