"""The web app: receives an order, creates it, and reserves the stock, in three HTTP requests.

Start a Redis on localhost. Then run each command in `examples/`, in a terminal of its own, after
`export LIVECHECK_SECRET_KEY=$(livecheck secret)`:

    python -m django migrate --run-syncdb --settings django_orders.settings
    gunicorn django_orders.wsgi --threads 4
    celery -A django_orders worker -n orders@%h
    LIVECHECK_CASES=django_orders.checks celery -A livecheck_celery worker

    curl -X POST localhost:8000/order/init/apple/3/      # then: livecheck reports
    curl -X POST localhost:8000/order/init/unicorn/1/    # accepted, but not stored: the test fails
"""

import json
import os
from uuid import uuid4

import requests
from django.http import HttpRequest, JsonResponse
from django.urls import path

from django_orders.checks import NewOrder, livecheck, test_order
from django_orders.tasks import store_order

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")  # base URL of the other services

livecheck.instrument("requests")


def init_order(_request: HttpRequest, item: str, quantity: int) -> JsonResponse:
    order = NewOrder(id=uuid4().hex, item=item, quantity=quantity)
    with test_order.maybe_trigger(order["id"], item=item, quantity=quantity):
        requests.post(f"{URL}/order/create/", json=order, timeout=5).raise_for_status()
    return JsonResponse(order)


def create_order(request: HttpRequest) -> JsonResponse:
    order: NewOrder = json.loads(request.body)
    requests.post(f"{URL}/stock/reserve/", json=order, timeout=5).raise_for_status()
    test_order.order_created.send(order)
    store_order.delay(order)
    return JsonResponse(order, status=201)


def reserve_stock(request: HttpRequest) -> JsonResponse:
    order: NewOrder = json.loads(request.body)
    test_order.stock_reserved.send(order["quantity"])
    return JsonResponse({"reserved": order["quantity"]})


urlpatterns = [
    path("order/init/<str:item>/<int:quantity>/", init_order),
    path("order/create/", create_order),
    path("stock/reserve/", reserve_stock),
]
