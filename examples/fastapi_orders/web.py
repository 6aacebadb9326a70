"""The web app: receives an order, creates it, and reserves the stock, in three HTTP requests.

Start a Redis on localhost. Then run each command in `examples/`, in a terminal of its own, after
`export LIVECHECK_SECRET_KEY=$(livecheck secret)`:

    uvicorn fastapi_orders.web:app
    celery -A fastapi_orders.tasks worker -n orders@%h
    LIVECHECK_CASES=fastapi_orders.checks celery -A livecheck_celery worker

    curl -X POST localhost:8000/order/init/apple/3/      # then: livecheck reports
    curl -X POST localhost:8000/order/init/unicorn/1/    # not reserved: the test fails
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
from fastapi import BackgroundTasks, FastAPI

from fastapi_orders.checks import Order, livecheck, test_order
from fastapi_orders.tasks import store_order

URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8000")  # base URL of the other services

client = httpx.AsyncClient(base_url=URL)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(livecheck.asgi)
livecheck.instrument("httpx")

stock = {"apple": 1_000_000, "pear": 1_000_000}


@app.post("/order/init/{item}/{quantity}/")
async def init_order(item: str, quantity: int) -> Order:
    order = Order(id=uuid4().hex, item=item, quantity=quantity)
    async with test_order.maybe_trigger(order.id, item=item, quantity=quantity):
        await post("/order/create/", order)
    return order


@app.post("/order/create/", status_code=201)
async def create_order(order: Order, background_tasks: BackgroundTasks) -> Order:
    await post("/stock/reserve/", order)
    test_order.order_created.send(order)
    background_tasks.add_task(store_order.delay, order.model_dump())  # after the response, as part of the test
    return order


@app.post("/stock/reserve/")
async def reserve_stock(order: Order) -> int:
    stock[order.item] -= order.quantity
    test_order.stock_reserved.send(stock[order.item])
    return stock[order.item]


async def post(path: str, order: Order) -> None:
    response = await client.post(path, json=order.model_dump())
    response.raise_for_status()
