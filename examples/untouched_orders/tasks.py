"""The Celery worker: stores, indexes and executes an order."""

import json
import os
from typing import Any

import redis
from celery import Celery

from livecheck_celery.integrations.celery import install

PRICES = {"apple": 30, "pear": 45}  # cents
REDIS_URL = os.environ.get("ORDERS_REDIS_URL", "redis://localhost:6379/0")

app = Celery("orders", broker=REDIS_URL)
app.conf.update(task_default_queue="orders", task_ignore_result=True)
livecheck = install(app)  # the first of three lines that were added

database = redis.Redis.from_url(REDIS_URL, decode_responses=True)


@app.task
def store_order(order: dict[str, Any]) -> dict[str, Any]:
    put("store", order)
    index_order.delay(order["id"])
    return get("store", order["id"])


@app.task
def index_order(order_id: str) -> dict[str, Any]:
    order = get("store", order_id)
    put(order["item"], order)
    execute_order.delay(order_id)
    return get(order["item"], order_id)


@app.task
def execute_order(order_id: str) -> int:
    order = get("store", order_id)
    total: int = PRICES[order["item"]] * order["quantity"]
    return total


def put(table: str, order: dict[str, Any]) -> None:
    database.set(f"{table}:{order['id']}", json.dumps(order), ex=3600)


def get(table: str, order_id: str) -> dict[str, Any]:
    order: dict[str, Any] = json.loads(database.get(f"{table}:{order_id}") or "null")
    return order
