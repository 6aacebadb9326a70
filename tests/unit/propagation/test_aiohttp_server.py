"""The middleware of aiohttp.web, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from celery import Celery

from livecheck_celery import ConfigurationError, LiveCheck, aio
from livecheck_celery.blocks import _open, current_work
from livecheck_celery.context import collect, current_test, current_tests, fake_request, under_test
from livecheck_celery.models import HEADER_ACCEPTED
from livecheck_celery.propagation import aiohttp_server, deferral
from livecheck_celery.propagation.headers import outgoing
from tests.helpers.asgi import context_here
from tests.helpers.factories import make_gate
from tests.helpers.signing import sign
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, failed, succeeded, trigger

Handler = Callable[[web.Request], Awaitable[Any]]


@pytest.fixture(autouse=True)
def user() -> Any:
    """Frameworks are followed, and restored, as by a LiveCheck."""
    user = type("User", (), {})()
    deferral.add_user(user)
    yield user
    deferral.remove_user(user)


def make_app(handler: Handler, finished: list[dict[str, Any]] | None = None) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    aiohttp_server.install(app, make_gate(*KEY, finished=finished))
    return app


def request(
    app: web.Application, *headers: dict[str, str], path: str = "/shop/order/create/", method: str = "POST"
) -> list[tuple[int, bytes, bool]]:
    """Send one request with each of ``headers``, on one connection; return status, body, and whether it was accepted.

    The server has shut down when this returns.
    """

    async def send() -> list[tuple[int, bytes, bool]]:
        answers = []
        async with TestClient(TestServer(app)) as client:
            for each in headers or (SIGNED,):
                async with client.request(method, path, headers=each, allow_redirects=False) as response:
                    accepted = response.headers.get(HEADER_ACCEPTED) == "1"
                    answers.append((response.status, await response.read(), accepted))
        return answers

    return asyncio.run(send())


def test_request_is_served_under_the_test_or_the_mark_in_its_headers(finished: list[dict[str, Any]]) -> None:
    seen: list[Any] = []

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(0)
        seen.append(context_here())
        return web.Response(status=201)

    with fake_request("shop.tests.test_order"):
        marked = sign(outgoing(), KEY)
    forged = SIGNED | {"LiveCheck-Test-Id": "order-2"}
    answers = request(make_app(handler, finished), SIGNED, {}, forged, marked, {})
    assert seen == [[TEST, None], [None, None], [None, None], [None, "shop.tests.test_order"], [None, None]]
    assert answers == [(201, b"", accepted) for accepted in (True, False, False, True, False)]
    assert finished == [succeeded(TEST)]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(302, succeeded(TEST, status=302)), (503, failed("returned status 503", TEST))],
)
def test_response_that_is_raised_is_the_outcome(status: int, outcome: Any, finished: list[dict[str, Any]]) -> None:
    async def handler(_: web.Request) -> web.Response:
        raise web.HTTPFound("/login/") if status == 302 else web.HTTPServiceUnavailable(text="closed")

    [(got, _, accepted)] = request(make_app(handler, finished))
    assert (got, accepted) == (status, True)
    assert finished == [outcome]


def test_error_of_a_handler_is_reported_and_unchanged(finished: list[dict[str, Any]]) -> None:
    async def handler(_: web.Request) -> web.Response:
        trigger(OTHER)
        raise ValueError("no such side")

    raised: list[BaseException] = []

    @web.middleware
    async def outer(request: web.Request, handler: Handler) -> Any:
        try:
            return await handler(request)
        except ValueError as exc:
            raised.append(exc)
            assert context_here() == [None, None]
            raise

    app = make_app(handler, finished)
    app.middlewares.insert(0, outer)
    [(status, _, accepted)] = request(app)
    assert (status, accepted) == (500, False)
    assert [str(each) for each in raised] == ["no such side"]
    assert finished == [failed("raised ValueError: no such side", TEST, OTHER)]


def test_handler_without_a_response_is_a_failed_request(finished: list[dict[str, Any]]) -> None:
    async def handler(_: web.Request) -> None: ...

    with contextlib.suppress(aiohttp.ServerDisconnectedError):  # of aiohttp 3.9; later ones answer with a 500
        [(status, _, _)] = request(make_app(handler, finished))
        assert status == 500
    assert finished == [failed("returned status 500", TEST)]


def test_parts_that_a_handler_writes_are_part_of_all_tests_of_the_request(finished: list[dict[str, Any]]) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        with under_test(OTHER):
            collect(OTHER, lingers=True)
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        for _ in range(2):
            seen.append(list(current_tests()))
            assert finished == []
            await response.write(b"part")
        return response

    assert request(make_app(handler, finished)) == [(201, b"partpart", True)]
    assert seen == [[TEST, OTHER]] * 2
    assert finished == [succeeded(TEST, OTHER)]


@pytest.mark.promise(
    "A body of `aiohttp.web` that is a generator is part of the tests of its request, whose outcome is reported after "
    "the body was sent.",
    theme="propagation",
)
def test_body_that_is_a_generator_is_part_of_all_tests_of_the_request(finished: list[dict[str, Any]]) -> None:
    seen: list[Any] = []

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(2):
            seen.append(list(current_tests()))
            assert len(finished) == len(seen) // 3, "the outcome is that of the whole response"
            yield b"part"

    async def handler(_: web.Request) -> web.Response:
        with under_test(OTHER):
            collect(OTHER, lingers=True)
        return web.Response(status=201, body=parts())

    assert request(make_app(handler, finished), SIGNED, {}) == [(201, b"partpart", True), (201, b"partpart", False)]
    assert seen == [[TEST, OTHER]] * 2 + [[OTHER]] * 2
    assert finished == [succeeded(TEST, OTHER), succeeded(OTHER)]


def test_body_is_part_of_the_test_in_whose_block_it_was_made(finished: list[dict[str, Any]]) -> None:
    seen: list[Any] = []

    async def parts() -> AsyncIterator[bytes]:
        seen.append(list(current_tests()))
        yield b"part"

    async def handler(_: web.Request) -> web.Response:
        with under_test(OTHER):
            return web.Response(body=parts())

    request(make_app(handler, finished))
    assert seen == [[OTHER, TEST]]


def test_body_that_is_sent_on_to_another_service_is_unchanged(finished: list[dict[str, Any]]) -> None:
    received: list[bytes] = []
    work: Any = None

    async def parts() -> AsyncIterator[bytes]:
        assert current_test() == OTHER
        blocks = _open.get()
        assert (blocks[0], len(blocks)) == (work, 3), "the work is open, and is not entered again"
        yield b"part"

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/other/":
            received.append(await request.read())
            return web.Response()
        nonlocal work
        work = current_work()
        async with TestClient(TestServer(make_app(handler))) as client:
            with under_test(OTHER):
                async with client.post("/other/", data=parts()) as answer:
                    assert answer.status == 200
        assert current_work() is work
        assert current_test() == TEST
        return web.Response(status=201)

    assert request(make_app(handler, finished)) == [(201, b"", True)]
    assert received == [b"part"]
    assert finished == [succeeded(TEST)]


def test_tasks_and_threads_of_a_handler_are_part_of_its_test() -> None:
    seen: list[Any] = []

    async def work() -> None:
        await proceed.wait()
        seen.append(current_test())

    async def handler(request: web.Request) -> web.Response:
        if request.headers.get("X-Proceed"):
            proceed.set()
            await asyncio.gather(*tasks)
        else:
            tasks.append(asyncio.create_task(work()))
            seen.append(await asyncio.to_thread(current_test))
        return web.Response()

    proceed, tasks = asyncio.Event(), list[Any]()
    request(make_app(handler), SIGNED, {}, {"X-Proceed": "1"})
    assert seen == [TEST, None, TEST, None]


def test_websocket_is_served_under_its_test_and_not_reported(finished: list[dict[str, Any]]) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            seen.append(current_test())
            await websocket.send_str(message.data)
        return websocket

    async def converse() -> None:
        server = TestServer(make_app(handler, finished))
        async with TestClient(server) as client, client.ws_connect("/", headers=SIGNED) as websocket:
            await websocket.send_str("hello")
            assert (await websocket.receive()).data == "hello"

    asyncio.run(converse())
    assert seen == [TEST]
    assert finished == []


@pytest.mark.parametrize("face", [LiveCheck, aio.LiveCheck])
def test_init_aiohttp_installs_the_middleware_once_and_triggers_on_routes(face: Any) -> None:
    livecheck = face(Celery("shop", broker="redis://localhost:1/0", set_as_current=False), secret_key=KEY)
    seen: list[Any] = []
    natives: list[Any] = []

    @livecheck.case(name="pays", probability=1.0)
    class pays(face.Case): ...

    def arguments(request: Any) -> dict[str, str]:
        natives.append(request.native)
        return {"id": f"order-{request.path_params['number']}"}

    livecheck.trigger_on("POST", "/orders/{number}/pay/", pays, arguments=arguments)

    @web.middleware
    async def inner(request: web.Request, handler: Handler) -> Any:
        seen.append([test.id for test in current_tests()])
        return await handler(request)

    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    try:
        app = web.Application(middlewares=[inner])
        app.router.add_post("/orders/{number}/pay/", handler)
        for _ in range(2):
            livecheck.init_aiohttp(app)
        assert len(app.middlewares) == 2
        assert len(app.on_response_prepare) == 1
        assert request(app, {}, path="/orders/7/pay/") == [(200, b"", False)]
        assert seen == [["order-7"]]
        assert isinstance(natives[0], web.Request)
    finally:
        livecheck.close()


@pytest.mark.skipif(
    aiohttp.__version__.startswith("3.9."), reason="aiohttp 3.9 cannot serve them with the yarl of today"
)
def test_sub_application_is_served_under_the_test_with_the_full_path(finished: list[dict[str, Any]]) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=201, text=str(current_test() and current_test().id))

    inner, outer = web.Application(), web.Application()
    inner.router.add_post("/order/create/", handler)
    outer.add_subapp("/shop/", inner)
    aiohttp_server.install(outer, make_gate(*KEY, finished=finished))
    assert request(outer) == [(201, TEST.id.encode(), True)]
    assert finished == [succeeded(TEST)]


def test_request_is_served_whatever_the_settings_are(caplog: pytest.LogCaptureFixture) -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False), secret_key="short")

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/", handler)
    livecheck.init_aiohttp(app)
    assert request(app, SIGNED, SIGNED, path="/") == [(201, b"", False)] * 2
    livecheck.close()


@pytest.mark.skipif(
    aiohttp.__version__.startswith("3.9."), reason="aiohttp 3.9 cannot serve them with the yarl of today"
)
def test_sub_application_with_the_middleware_is_served_once(finished: list[dict[str, Any]]) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=str(context_here()[0] == TEST))

    outer, inner, gate = web.Application(), web.Application(), make_gate(*KEY, finished=finished)
    inner.router.add_post("/order/create/", handler)
    for app in (inner, outer):
        aiohttp_server.install(app, gate)
    outer.add_subapp("/shop", inner)
    assert request(outer) == [(200, b"True", True)]
    assert finished == [succeeded(TEST, status=200)]


def test_application_that_cannot_get_the_middleware_is_refused_in_one_line() -> None:
    outer, inner, gate = web.Application(), web.Application(), make_gate(*KEY)
    outer.add_subapp("/shop", inner)
    with pytest.raises(ConfigurationError, match="the application has started, or is part of another; call it before"):
        aiohttp_server.install(inner, gate)
    for other in (None, web.Application):
        with pytest.raises(ConfigurationError, match="is not an aiohttp.web.Application"):
            aiohttp_server.install(other, gate)  # type: ignore[arg-type]
