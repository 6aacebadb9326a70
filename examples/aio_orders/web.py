"""The shop: a FastAPI service that receives an order, and sends it to the desk with aiohttp."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aiohttp
from fastapi import FastAPI, Request

from aio_orders.checks import Order, livecheck, test_order

DESK_URL = os.environ.get("ORDERS_DESK_URL", "http://127.0.0.1:8001")  # base URL of the desk


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(DESK_URL) as app.state.desk:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(livecheck.asgi)
livecheck.instrument("aiohttp")


@app.post("/orders/{side}/", status_code=201)
async def place_order(side: str, request: Request) -> Order:
    order = Order(id=uuid4().hex, side=side, quantity=3)
    async with (
        test_order.maybe_trigger(order.id, side=side),
        request.app.state.desk.post("/desk/", json=order.model_dump()) as response,
    ):
        response.raise_for_status()
    return order
