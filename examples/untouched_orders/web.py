"""The web app: receives an order, and creates it, in two HTTP requests.

Start a Redis on localhost. Then run each command in `examples/`, in a terminal of its own, after
`export LIVECHECK_SECRET_KEY=$(livecheck secret)`:

    LIVECHECK_CASES=untouched_orders.checks celery -A livecheck_celery worker
    celery -A untouched_orders.tasks worker -n orders@%h
    gunicorn untouched_orders.web:app --threads 4
    LIVECHECK_CASES=untouched_orders.checks celery -A livecheck_celery beat

`livecheck reports` shows a test every second. With `ORDERS_ITEM=unicorn` before the first command, orders are accepted
but not executed, and the tests fail.
"""

import os
from typing import Any
from uuid import uuid4

import requests
from flask import Flask, request

from untouched_orders.tasks import livecheck, store_order

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")  # base URL of the other services

app = Flask(__name__)
livecheck.init_flask(app)  # the second line that was added
livecheck.instrument("requests")  # the third line that was added


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
