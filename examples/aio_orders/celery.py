"""The Celery app: that of the workers of the shop, of the LiveCheck worker, and of beat."""

import os

from celery import Celery

REDIS_URL = os.environ.get("ORDERS_REDIS_URL", "redis://localhost:6379/0")

app = Celery("aio_orders", broker=REDIS_URL, include=["aio_orders.tasks"])
app.conf.update(
    task_default_queue="orders",
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
