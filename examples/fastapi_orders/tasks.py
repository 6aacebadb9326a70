"""The Celery worker: stores, indexes and executes an order."""

import os
from typing import Any

import redis
from celery import Celery

from fastapi_orders.checks import Order, test_order

PRICES = {"apple": 30, "pear": 45}  # cents
REDIS_URL = os.environ.get("ORDERS_REDIS_URL", "redis://localhost:6379/0")

app = Celery("orders", broker=REDIS_URL)
app.conf.update(task_default_queue="orders", task_ignore_result=True)
database = redis.Redis.from_url(REDIS_URL, decode_responses=True)


@app.task
def store_order(fields: dict[str, Any]) -> None:
    order = Order.model_validate(fields)
    put("store", order)
    test_order.order_stored.send(get("store", order.id))
    index_order.delay(order.id)


@app.task
def index_order(order_id: str) -> None:
    order = get("store", order_id)
    put(order.item, order)
    test_order.order_indexed.send(get(order.item, order_id))
    execute_order.delay(order_id)


@app.task
def execute_order(order_id: str) -> None:
    order = get("store", order_id)
    test_order.order_executed.send(PRICES[order.item] * order.quantity)


def put(table: str, order: Order) -> None:
    database.set(f"{table}:{order.id}", order.model_dump_json(), ex=3600)


def get(table: str, order_id: str) -> Order:
    return Order.model_validate_json(database.get(f"{table}:{order_id}") or "null")
