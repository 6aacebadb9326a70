"""The web app: receives an order, creates it, and reserves the stock, in three HTTP requests.

Start a Redis on localhost. Then run each command in `examples/`, in a terminal of its own, after
`export LIVECHECK_SECRET_KEY=$(livecheck secret)`:

    gunicorn flask_orders.web:app --threads 4
    celery -A flask_orders.tasks worker -n orders@%h
    LIVECHECK_CASES=flask_orders.checks celery -A livecheck_celery worker

    curl -X POST localhost:8000/order/init/apple/3/      # then: livecheck reports
    curl -X POST localhost:8000/order/init/unicorn/1/    # accepted, but not executed: the test fails
"""

import os
from uuid import uuid4

import requests
from flask import Flask, request

from flask_orders.checks import Order, livecheck, test_order
from flask_orders.tasks import store_order

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")  # base URL of the other services

app = Flask(__name__)
livecheck.init_flask(app)
livecheck.instrument("requests")


@app.post("/order/init/<item>/<int:quantity>/")
def init_order(item: str, quantity: int) -> Order:
    order = Order(id=uuid4().hex, item=item, quantity=quantity)
    with test_order.maybe_trigger(order["id"], item=item, quantity=quantity):
        requests.post(f"{URL}/order/create/", json=order, timeout=5).raise_for_status()
    return order


@app.post("/order/create/")
def create_order() -> tuple[Order, int]:
    order: Order = request.get_json()
    requests.post(f"{URL}/stock/reserve/", json=order, timeout=5).raise_for_status()
    test_order.order_created.send(order)
    store_order.delay(order)
    return order, 201


@app.post("/stock/reserve/")
def reserve_stock() -> dict[str, int]:
    order: Order = request.get_json()
    test_order.stock_reserved.send(order["quantity"])
    return {"reserved": order["quantity"]}
