"""The desk: an aiohttp service that queues an order for the workers."""

import asyncio

from aiohttp import web

from aio_orders.checks import Order, livecheck
from aio_orders.tasks import save_order


async def take_order(request: web.Request) -> web.Response:
    order = Order.model_validate(await request.json())
    await asyncio.to_thread(save_order.delay, order.model_dump())  # stays part of the test
    return web.json_response({"id": order.id}, status=202)


def make_app(_arguments: list[str] | None = None) -> web.Application:
    app = web.Application()
    livecheck.init_aiohttp(app)
    app.add_routes([web.post("/desk/", take_order)])
    return app
