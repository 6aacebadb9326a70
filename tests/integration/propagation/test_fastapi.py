"""FastAPI on uvicorn: dependencies, background tasks and streams that belong to a test triggered in the request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from inspect import signature
from typing import Any

import pytest
import requests
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from livecheck_celery import LiveCheck, current_test
from livecheck_celery.context import current_tests
from tests.helpers.http_server import KEY
from tests.helpers.order_case import make_order_case
from tests.helpers.uvicorn_server import serving
from tests.helpers.waiting import wait_until

#: What was in force, by the place where it was read.
seen: dict[str, list[str]] = {}


def note(place: str) -> None:
    seen.setdefault(place, []).append(",".join(test.id for test in current_tests()))


@pytest.fixture
def case(redis_url: str) -> Any:
    seen.clear()
    return make_order_case(redis_url, secret_key=KEY)


@pytest.fixture(params=["bare", "middleware", "middleware around middleware"])
def app(request: pytest.FixtureRequest, case: Any) -> FastAPI:
    """An application without LiveCheck's middleware; with it; and with it around Starlette's BaseHTTPMiddleware."""
    app = FastAPI()
    if request.param == "middleware around middleware":

        @app.middleware("http")
        async def other(request: Any, call_next: Any) -> Any:
            return await call_next(request)

    if request.param != "bare":
        app.add_middleware(case.app.asgi)

    @app.get("/context")
    async def context() -> list[str]:
        return [test.id for test in current_tests()]

    return app


def get(app: FastAPI, path: str, count: int = 1) -> list[requests.Response]:
    with serving(app) as url, requests.Session() as session:
        responses = [session.get(url + path, timeout=10) for _ in range(count)]
        assert session.get(f"{url}/context", timeout=10).json() == [], "nothing stays in force in the server"
    return responses


@pytest.mark.promise(
    "Leaving `maybe_trigger` never raises: a FastAPI dependency, a closed generator or the garbage collector can leave "
    "it in another thread or context.",
    theme="requests",
)
@pytest.mark.parametrize("scope", ["request", "function"])
def test_sync_dependency_that_holds_the_block_harms_no_request(
    app: FastAPI, case: Any, scope: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def tested() -> Iterator[Any]:
        with case.maybe_trigger() as test:
            note("dependency")
            yield test

    options = {"scope": scope} if "scope" in signature(Depends).parameters else {}  # since FastAPI 0.121

    @app.get("/")
    async def view(test: Any = Depends(tested, **options)) -> bool:  # noqa: B008 - as FastAPI has it
        note("view")
        return test is not None

    with caplog.at_level(logging.WARNING):
        responses = get(app, "/", count=3)
    assert [(each.status_code, each.json()) for each in responses] == [(200, True)] * 3
    assert seen["view"] == [""] * 3, "Starlette runs a sync dependency in a context of its own"
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_async_dependency_carries_the_test_to_the_view(app: FastAPI, case: Any, kind: str) -> None:
    async def tested() -> AsyncIterator[Any]:
        async with case.maybe_trigger("o-1") as test:
            yield test

    async def view(test: Any = Depends(tested)) -> None:  # noqa: B008
        note("view")

    def sync_view(test: Any = Depends(tested)) -> None:  # noqa: B008
        note("view")

    app.get("/")(view if kind == "async" else sync_view)
    assert get(app, "/")[0].status_code == 200
    assert seen["view"] == ["o-1"]


@pytest.mark.promise(
    "Background tasks of FastAPI and Starlette, and generators of streaming responses, are part of the test in whose "
    "block they were made.",
    theme="propagation",
)
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_background_tasks_are_part_of_the_test_in_whose_block_they_were_added(
    app: FastAPI, case: Any, kind: str
) -> None:
    async def work(order: str) -> None:
        note(order)

    def sync_work(order: str) -> None:
        note(order)

    @app.get("/")
    async def view(background_tasks: BackgroundTasks) -> None:
        for order in ("o-1", "o-2"):
            async with case.maybe_trigger(order):
                background_tasks.add_task(work if kind == "async" else sync_work, order)
        background_tasks.add_task(work if kind == "async" else sync_work, "untested")

    get(app, "/")
    wait_until(lambda: len(seen) == 3)
    assert seen["o-1"] == ["o-1"]
    assert seen["o-2"] == ["o-2"]
    assert seen["untested"] == [""], "it was added outside the blocks"


def parts() -> Iterator[str]:
    for _ in range(3):
        note("part")
        yield "part"


async def async_parts() -> AsyncIterator[str]:
    for part in parts():
        await asyncio.sleep(0)
        yield part


class ServerSentEvents(StreamingResponse):
    """A response with a way of its own to send the parts, as in packages for server-sent events."""

    async def stream_response(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self.body_iterator:
            await send({"type": "http.response.body", "body": str(part).encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


every_stream = pytest.mark.parametrize("response_class", [StreamingResponse, ServerSentEvents])


@every_stream
@pytest.mark.parametrize("make", [parts, async_parts])
def test_generator_of_a_response_made_in_the_block_is_part_of_the_test(
    app: FastAPI, case: Any, make: Any, response_class: Any
) -> None:
    @app.get("/", response_class=response_class)
    async def view() -> Any:
        async with case.maybe_trigger("o-1"):
            return response_class(make(), background=BackgroundTask(note, "background"))

    assert get(app, "/")[0].text == "part" * 3
    assert seen == {"part": ["o-1"] * 3, "background": ["o-1"]}


@every_stream
@pytest.mark.parametrize("make", [parts, async_parts])
def test_generator_made_in_the_block_is_part_of_the_test(
    app: FastAPI, case: Any, make: Any, response_class: Any, request: pytest.FixtureRequest
) -> None:
    @app.get("/", response_class=response_class)
    def view() -> Any:
        with case.maybe_trigger("o-1"):
            generator = make()
        note("between")
        return response_class(generator)

    assert get(app, "/")[0].text == "part" * 3
    assert seen["between"] == [""]
    if "bare" not in request.node.name:  # without the middleware, LiveCheck does not know the request
        assert seen["part"] == ["o-1"] * 3


@pytest.mark.parametrize("scope", ["request", "function"])
def test_work_of_a_view_with_nested_dependencies_is_part_of_the_test(app: FastAPI, case: Any, scope: Any) -> None:
    options = {"scope": scope} if "scope" in signature(Depends).parameters else {}  # since FastAPI 0.121

    async def tested() -> AsyncIterator[Any]:
        async with case.maybe_trigger("o-1") as test:
            yield test

    def inner(test: Any = Depends(tested, **options)) -> Iterator[Any]:  # noqa: B008
        note("inner")
        yield test
        note("inner exit")

    @app.get("/")
    async def view(background_tasks: BackgroundTasks, test: Any = Depends(inner, **options)) -> Any:  # noqa: B008
        background_tasks.add_task(note, "background")
        return StreamingResponse(parts())

    assert get(app, "/")[0].text == "part" * 3
    wait_until(lambda: len(seen) == 4)
    assert seen == {"inner": ["o-1"], "inner exit": ["o-1"], "part": ["o-1"] * 3, "background": ["o-1"]}


def test_block_of_a_middleware_contains_the_view_its_stream_and_its_background_tasks(app: FastAPI, case: Any) -> None:
    @app.middleware("http")
    async def tested(request: Any, call_next: Any) -> Any:
        if request.url.path != "/":
            return await call_next(request)
        async with case.maybe_trigger("o-1"):
            return await call_next(request)

    @app.get("/")
    async def view(background_tasks: BackgroundTasks) -> Any:
        note("view")
        background_tasks.add_task(note, "background")
        return StreamingResponse(parts())

    assert get(app, "/")[0].text == "part" * 3
    wait_until(lambda: len(seen) == 3)
    assert seen == {"view": ["o-1"], "part": ["o-1"] * 3, "background": ["o-1"]}


def test_websocket_is_part_of_the_test_of_its_dependency(app: FastAPI, case: Any) -> None:
    async def tested() -> AsyncIterator[Any]:
        async with case.maybe_trigger("o-1") as test:
            yield test

    @app.websocket("/")
    async def serve(websocket: WebSocket, test: Any = Depends(tested)) -> None:  # noqa: B008
        await websocket.accept()
        note(await websocket.receive_text())
        async with case.maybe_trigger("o-2"):
            note("inner block")
        note("after")
        await websocket.close()

    async def connect() -> None:
        messages = [{"type": "websocket.receive", "text": "message"}, {"type": "websocket.connect"}]
        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}

        async def receive() -> Any:
            return messages.pop()

        async def send(message: Any) -> None:
            note(message["type"])

        await app(scope, receive, send)
        note("outside")

    asyncio.run(connect())
    assert seen == {
        "websocket.accept": ["o-1"],
        "message": ["o-1"],
        "inner block": ["o-2,o-1"],
        "after": ["o-1"],
        "websocket.close": ["o-1"],
        "outside": [""],
    }


def test_consumer_that_the_lifespan_starts_is_part_of_the_test_of_each_message(case: Any) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.orders = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            consumer = group.create_task(consume(app.state.orders))
            yield
            consumer.cancel()

    async def consume(orders: asyncio.Queue[Any]) -> None:
        while True:
            headers, done = await orders.get()
            note("consumer")
            with case.app.extract(headers):
                note("message")
            done.set()

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(case.app.asgi)

    @app.get("/")
    async def view(request: Request, order: str) -> None:
        headers: list[Any] = []
        done = asyncio.Event()
        async with case.maybe_trigger(order):
            case.app.inject(headers)
            await request.app.state.orders.put((headers, done))
        await done.wait()

    with serving(app, lifespan="on") as url:
        for order in ("o-1", "o-2"):
            assert requests.get(url, params={"order": order}, timeout=10).status_code == 200
    assert seen == {"consumer": [""] * 2, "message": ["o-1", "o-2"]}


def test_sync_generator_that_holds_the_block_streams_whole(app: FastAPI, case: Any, redis_url: str) -> None:
    def held() -> Iterator[str]:
        with case.maybe_trigger("o-1"):
            yield from parts()

    async def held_async() -> AsyncIterator[str]:
        async with case.maybe_trigger("o-1"):
            for part in parts():
                yield part

    @app.get("/")
    async def view() -> StreamingResponse:
        return StreamingResponse(held())

    @app.get("/async")
    async def async_view() -> StreamingResponse:
        return StreamingResponse(held_async())

    assert get(app, "/")[0].text == "part" * 3
    assert seen.pop("part")[0] == "o-1"
    assert get(app, "/async")[0].text == "part" * 3
    assert seen["part"] == ["o-1"] * 3


def test_worker_created_in_a_request_is_not_part_of_its_response(app: FastAPI, case: Any) -> None:
    """A worker that is created in the first request, outside a block, belongs to no test while the response streams."""
    workers: list[asyncio.Task[None]] = []
    streaming, asked = asyncio.Event(), asyncio.Event()

    async def serve_orders() -> None:
        await streaming.wait()
        note("worker")
        asked.set()

    async def stream() -> AsyncIterator[str]:
        note("part")
        streaming.set()
        await asked.wait()
        yield "part"

    @app.get("/")
    async def view() -> StreamingResponse:
        workers.append(asyncio.create_task(serve_orders()))
        async with case.maybe_trigger("o-1"):
            pass
        return StreamingResponse(stream())

    assert get(app, "/")[0].text == "part"
    assert seen["worker"] == [""]


def test_worker_created_in_a_detached_block_is_part_of_no_test(app: FastAPI, case: Any) -> None:
    workers: list[asyncio.Task[None]] = []

    async def serve_orders() -> None:
        await asyncio.sleep(0)
        note("worker")

    @app.get("/")
    async def view() -> None:
        async with case.maybe_trigger("o-1"):
            with case.app.detached():
                workers.append(asyncio.create_task(serve_orders()))
            await workers[0]
            note("view")

    get(app, "/")
    assert seen == {"worker": [""], "view": ["o-1"]}


def test_closing_the_livecheck_restores_starlette(redis_url: str) -> None:
    before = [BackgroundTask.__init__, StreamingResponse.__init__]
    livecheck = LiveCheck(redis_url=redis_url)
    case = livecheck.add_case(livecheck.Case, name="shop.test_order", probability=1.0)
    with case.maybe_trigger():
        assert BackgroundTask.__init__ is not before[0]
        task = BackgroundTask(current_test)
    livecheck.close()
    assert [BackgroundTask.__init__, StreamingResponse.__init__] == before
    asyncio.run(task())
