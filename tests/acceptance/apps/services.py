"""The same service on Flask and FastAPI: answers with the current test and the size of the request."""

import asyncio
import os
from typing import Any

import flask
from celery import Celery
from fastapi import FastAPI, Request

from livecheck_celery import Case, LiveCheck, Signal, current_test

livecheck = LiveCheck(Celery("services", broker=os.environ["SHOP_URL"], set_as_current=False))


@livecheck.case()
class test_order(Case):
    """Is triggered by the client of the service."""

    handled: Signal[int]

    def run(self) -> None:
        self.handled.wait()


def answer(body: bytes) -> dict[str, Any]:
    test = current_test()
    test_order.handled.send(len(body))
    return {"test": test and test.id, "size": len(body)}


wsgi = flask.Flask("shop")
livecheck.init_flask(wsgi)


@wsgi.post("/order/")
def create_order() -> dict[str, Any]:
    return answer(flask.request.get_data())


asgi = FastAPI()
asgi.add_middleware(livecheck.asgi)


@asgi.post("/order/")
async def create_order_async(request: Request) -> dict[str, Any]:
    body = await request.body()
    await asyncio.sleep(0.01)  # lets concurrent requests interleave
    return answer(body)
