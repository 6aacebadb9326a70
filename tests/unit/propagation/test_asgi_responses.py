"""The ASGI middleware reports the outcome of a request once, to all tests it is part of or triggered."""

import asyncio
from contextvars import copy_context
from typing import Any

import pytest

from livecheck_celery.blocks import current_work
from livecheck_celery.context import current_test
from tests.helpers.asgi import (
    BODY,
    CARRIES,
    START,
    context_here,
    respond,
    scope_of,
    serve,
)
from tests.helpers.factories import make_test
from tests.helpers.web import OTHER, TEST, failed, succeeded, trigger


@pytest.mark.parametrize(
    "last", [BODY, {**BODY, "more_body": False}, {"type": "http.response.pathsend", "path": "/etc/motd"}]
)
def test_request_finishes_when_the_last_part_is_sent(finished: list[dict[str, Any]], last: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in (START, *[{"type": "http.response.body", "body": b"part", "more_body": True}] * 2):
            await send(message)
            assert finished == []
        trigger(OTHER)
        await send(last)
        assert finished == [succeeded(TEST, OTHER)]
        trigger(make_test("too late"))

    asyncio.run(serve(app, scope_of(CARRIES), finished))
    assert finished == [succeeded(TEST, OTHER)]


def test_request_outside_a_test_is_not_reported(finished: list[dict[str, Any]]) -> None:
    asyncio.run(serve(respond, scope_of([]), finished))
    assert finished == []


@pytest.mark.parametrize(
    ("path", "root", "full"),
    [
        ("/", "", "/"),
        ("/shop/order/", "/shop", "/shop/order/"),
        ("/shop/order/", "/shop/", "/shop/order/"),
        ("/shop", "/shop", "/shop"),
        ("/order/", "/shop", "/shop/order/"),
        ("/shopping/", "/shop", "/shop/shopping/"),
        ("*", "", "*"),
        ("/été/", "", "/été/"),
    ],
)
def test_reported_path_is_the_full_path(finished: list[dict[str, Any]], path: str, root: str, full: str) -> None:
    asyncio.run(serve(respond, scope_of(CARRIES, path=path, root_path=root), finished))
    assert finished == [succeeded(TEST, path=full)]


@pytest.mark.parametrize("error", [ValueError("no such side"), asyncio.CancelledError("no such side")])
def test_application_errors_propagate_and_are_reported(finished: list[dict[str, Any]], error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise error

    async def run() -> None:
        with pytest.raises(type(error), match="no such side") as raised:
            await serve(app, scope_of(CARRIES), finished)
        assert raised.value is error
        assert context_here() == [None, None]

    asyncio.run(run())
    assert finished == [failed(f"raised {type(error).__name__}: no such side", TEST)]


def test_error_after_the_response_is_not_reported(finished: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(scope, receive, send)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(serve(app, scope_of(CARRIES), finished))
    assert finished == [succeeded(TEST)]


def test_server_error_status_is_reported_as_an_error(finished: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": 503})
        await send(BODY)

    asyncio.run(serve(app, scope_of(CARRIES), finished))
    assert finished == [failed("returned status 503", TEST)]


def test_websocket_is_not_reported(finished: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert current_work() is None
        await send({"type": "websocket.accept"})
        assert current_test() == TEST
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(serve(app, scope_of(CARRIES, type="websocket"), finished))
    assert finished == []


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_abandoned_request_is_closed_without_error(finished: list[dict[str, Any]], kind: str) -> None:
    async def app(*_: object) -> None:
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    request = serve(app, scope_of(CARRIES, type=kind), finished)
    copy_context().run(request.send, None)
    request.close()
    loop.close()
    assert finished == []
