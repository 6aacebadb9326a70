"""The Celery worker: stores, indexes and executes an order."""

from django.core.cache import cache

from django_orders.celery import app
from django_orders.checks import NewOrder, test_order
from django_orders.models import Order

PRICES = {"apple": 30, "pear": 45}  # cents


@app.task
def store_order(order: NewOrder) -> None:
    Order.objects.create(**order, price=PRICES[order["item"]])
    index_order.delay(order["id"])


@app.task
def index_order(order_id: str) -> None:
    cache.set(order_id, Order.objects.values("id", "item", "quantity").get(id=order_id))
    test_order.order_indexed.send(cache.get(order_id))
    execute_order.delay(order_id)


@app.task
def execute_order(order_id: str) -> None:
    order = Order.objects.get(id=order_id)
    Order.objects.filter(id=order_id).update(executed=True)
    test_order.order_executed.send(order.price * order.quantity)
