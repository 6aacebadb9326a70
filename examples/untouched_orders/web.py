"""The web app: takes an order, and creates it, each in a request of its own.

With a Redis on localhost, in `examples/`, each in a terminal that has `export LIVECHECK_SECRET_KEY=any-secret`:

    LIVECHECK_CASES=untouched_orders.checks celery -A livecheck_celery worker
    celery -A untouched_orders.tasks worker -n orders@%h
    gunicorn untouched_orders.web:app --threads 4
    LIVECHECK_CASES=untouched_orders.checks celery -A livecheck_celery beat

Then `livecheck reports`: an order every second. With `ORDERS_ITEM=unicorn` before the first command, the orders are
accepted, and cannot be executed.
"""

import os
from typing import Any
from uuid import uuid4

import requests
from flask import Flask, request

from untouched_orders.tasks import livecheck, store_order

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")  # where the other services answer

app = Flask(__name__)
livecheck.init_flask(app)  # the second
livecheck.instrument("requests")  # and the third


@app.post("/order/init/<item>/<int:quantity>/")
def init_order(item: str, quantity: int) -> dict[str, Any]:
    order = {"id": uuid4().hex, "item": item, "quantity": quantity}
    requests.post(f"{URL}/order/create/", json=order, timeout=5).raise_for_status()
    return order


@app.post("/order/create/")
def create_order() -> tuple[dict[str, Any], int]:
    order: dict[str, Any] = request.get_json()
    store_order.delay(order)
    return order, 201
