"""Flask, Starlette and FastAPI, with their complete stacks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import flask
import pytest
from celery import Celery
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from livecheck_celery import LiveCheck
from livecheck_celery.context import current_test
from livecheck_celery.propagation.asgi import LiveCheckMiddleware
from livecheck_celery.propagation.wsgi import LiveCheckMiddleware as WSGIMiddleware
from tests.helpers.factories import make_gate
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, failed, request_asgi, succeeded, trigger


@pytest.fixture
def livecheck() -> LiveCheck:
    return LiveCheck(Celery("shop", broker="redis://nowhere", set_as_current=False), secret_key=KEY)


@pytest.fixture
def seen() -> list[object]:
    return []


def test_init_flask(livecheck: LiveCheck, seen: list[object]) -> None:
    app = flask.Flask("shop")
    app.add_url_rule("/", view_func=lambda: str(seen.append(current_test())))
    livecheck.init_flask(app)
    wrapped = app.wsgi_app
    livecheck.init_flask(app)
    assert app.wsgi_app is wrapped
    for headers in (SIGNED, {}):
        assert app.test_client().get("/", headers=headers).status_code == 200
    assert seen == [TEST, None]


def test_starlette_add_middleware(livecheck: LiveCheck, seen: list[object]) -> None:
    def in_a_thread(request: Request) -> Response:
        seen.append(current_test())
        return Response()

    async def view(request: Request) -> Response:
        seen.append(current_test())
        return Response(background=BackgroundTask(lambda: seen.append(current_test())))

    app = Starlette(routes=[Route("/", view), Route("/thread", in_a_thread)])
    app.add_middleware(livecheck.asgi)
    for path in ("/", "/thread"):
        for headers in (SIGNED, {}):
            assert asyncio.run(request_asgi(app, path, headers=headers)) == (200, b"")
    assert seen == [TEST, TEST, None, None, TEST, None]


def test_fastapi_add_middleware(livecheck: LiveCheck, seen: list[object]) -> None:
    app = FastAPI()
    app.add_middleware(livecheck.asgi)

    async def dependency() -> AsyncIterator[None]:
        seen.append(current_test())
        yield
        seen.append(current_test())

    @app.get("/")
    async def view(_: None = Depends(dependency)) -> str | None:
        return current_test() and current_test().id

    @app.get("/thread")
    def in_a_thread(_: None = Depends(dependency)) -> str | None:
        return current_test() and current_test().id

    for path in ("/", "/thread"):
        assert asyncio.run(request_asgi(app, path)) == (200, b'"order-1"')
        assert asyncio.run(request_asgi(app, path, headers={})) == (200, b"null")
    assert seen == [TEST, TEST, None, None] * 2


def test_streams_are_generated_under_the_test(seen: list[object], finished: list[dict[str, Any]]) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(2):
            seen.append(current_test())
            yield b"part"

    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            await asyncio.sleep(0)
            trigger(OTHER)
            yield part

    async def stream(request: Request) -> Response:
        return StreamingResponse(parts() if request.url.path == "/sync" else async_parts())

    app = Starlette(routes=[Route("/sync", stream), Route("/async", stream)])
    app.add_middleware(LiveCheckMiddleware, gate=make_gate(*KEY, finished=finished))
    assert asyncio.run(request_asgi(app, "/sync")) == (200, b"partpart")
    assert asyncio.run(request_asgi(app, "/async")) == (200, b"partpart")
    assert seen == [TEST] * 4
    assert finished == [
        succeeded(TEST, method="GET", path="/sync", status=200),
        succeeded(TEST, OTHER, OTHER, method="GET", path="/async", status=200),
    ]


def test_error_in_a_view_is_reported(finished: list[dict[str, Any]]) -> None:
    async def view(request: Request) -> Response:
        trigger(OTHER)
        raise ValueError("no such side")

    app = Starlette(routes=[Route("/", view)])
    app.add_middleware(LiveCheckMiddleware, gate=make_gate(*KEY, finished=finished))
    with pytest.raises(ValueError, match="no such side"):
        asyncio.run(request_asgi(app, "/"))
    assert finished == [failed("raised ValueError: no such side", TEST, OTHER, path="/", method="GET")]


def test_error_page_outside_the_application_is_reported_by_its_status(finished: list[dict[str, Any]]) -> None:
    async def view(request: Request) -> Response:
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/", view)])
    around = LiveCheckMiddleware(app, make_gate(*KEY, finished=finished))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(request_asgi(around, "/"))
    assert finished == [failed("returned status 500", TEST, path="/", method="GET")]


def test_base_http_middleware_keeps_the_test(finished: list[dict[str, Any]]) -> None:
    async def view(request: Request) -> Response:
        trigger(OTHER)
        return JSONResponse(current_test().id)

    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.status_code = 202
        return response

    app = Starlette(routes=[Mount("/shop", routes=[Route("/{side}/", view, methods=["POST"])])])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(LiveCheckMiddleware, gate=make_gate(*KEY, finished=finished))
    assert asyncio.run(request_asgi(app, "/shop/buy/", "POST")) == (202, b'"order-1"')
    assert finished == [succeeded(TEST, OTHER, path="/shop/buy/", status=202)]


def test_mounted_application_reports_the_full_path(finished: list[dict[str, Any]]) -> None:
    inner = FastAPI()
    inner.add_middleware(LiveCheckMiddleware, gate=make_gate(*KEY, finished=finished))
    inner.add_api_route("/order/", lambda: "stored", status_code=201, methods=["POST"])
    outer = FastAPI()
    outer.mount("/shop", inner)
    assert asyncio.run(request_asgi(outer, "/shop/order/", "POST")) == (201, b'"stored"')
    assert finished == [succeeded(TEST, path="/shop/order/")]


def test_websocket_is_served_under_its_test(livecheck: LiveCheck, seen: list[object]) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        seen.append(current_test())
        await websocket.close()

    async def converse() -> None:
        sent: list[str] = []
        incoming = [{"type": "websocket.connect"}]
        headers = [(name.lower().encode(), text.encode()) for name, text in SIGNED.items()]
        scope = {"type": "websocket", "path": "/", "headers": headers, "query_string": b"", "subprotocols": []}

        async def receive() -> Any:
            return incoming.pop()

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app(scope, receive, send)
        assert sent == ["websocket.accept", "websocket.close"]

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    app.add_middleware(livecheck.asgi)
    asyncio.run(converse())
    assert seen == [TEST]


def test_mounted_application_with_the_middleware_is_served_once(finished: list[dict[str, Any]]) -> None:
    gate, inner, outer = make_gate(*KEY, finished=finished), FastAPI(), FastAPI()
    for app in (inner, outer):
        app.add_middleware(LiveCheckMiddleware, gate=gate)

    @inner.get("/sell/")
    async def view() -> str | None:
        return current_test() and current_test().id

    outer.mount("/shop", inner)
    for _ in range(2):
        assert asyncio.run(request_asgi(outer, "/shop/sell/")) == (200, b'"order-1"')
    assert finished == [succeeded(TEST, method="GET", path="/shop/sell/", status=200)] * 2


def test_flask_application_inside_another_is_served_once(finished: list[dict[str, Any]]) -> None:
    gate = make_gate(*KEY, finished=finished)
    app = flask.Flask("shop")
    app.add_url_rule("/", view_func=lambda: str(current_test() == TEST))
    app.wsgi_app = WSGIMiddleware(WSGIMiddleware(app.wsgi_app, gate), gate)
    for _ in range(2):
        assert app.test_client().get("/", headers=SIGNED).text == "True"
    assert finished == [succeeded(TEST, method="GET", path="/", status=200)] * 2
