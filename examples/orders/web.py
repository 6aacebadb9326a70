"""The web app: receives orders.

flask --app orders.web run
"""

import random
from typing import Any
from uuid import uuid4

from flask import Flask, Response, abort, request
from pydantic import ValidationError

from orders import config, storage
from orders.checks import livecheck, test_order
from orders.config import broken
from orders.models import NewOrder, Order
from orders.tasks import store_order

app = Flask(__name__)
app.wsgi_app = livecheck.wsgi(app.wsgi_app)  # type: ignore[method-assign] # as Flask's documentation recommends


@app.get("/")
def index() -> dict[str, int]:
    return storage.counts()


@app.post("/order/init/<side>/")
def init_order(side: str) -> Response:
    """Place a random order; LiveCheck's fake requests call this."""
    order = {
        "user_id": f"user-{random.randint(1, 1000)}",
        "side": side,
        "price": random.randint(100, 10_000),
        "quantity": random.randint(1, 100),
    }
    with livecheck.session() as session:  # marks a fake request in signed headers
        response = session.post(f"{config.URL}/order/create/", json=order, timeout=5)
    return Response(response.content, response.status_code, content_type=response.headers.get("Content-Type"))


@app.post("/order/create/")
def create_order() -> tuple[Any, int]:
    if broken("web"):
        abort(503)
    try:
        new = NewOrder.model_validate(request.get_json())
    except ValidationError as exc:
        return {"errors": exc.errors(include_url=False, include_context=False)}, 400
    order = Order(id=uuid4().hex, **new.model_dump())
    with test_order.maybe_trigger(order.id, side=order.side):
        test_order.order_received.send(order)
        store_order.delay(order.model_dump(mode="json"))
    return {"id": order.id}, 201
