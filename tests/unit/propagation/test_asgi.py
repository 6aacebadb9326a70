"""An ASGI request that carries a test is handled as part of that test, and its answer is told."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import (
    current_test,
    current_test_var,
    fake_request,
    synthetic_case_var,
    triggered_var,
    under_test,
)
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.asgi import LiveCheckMiddleware
from tests.helpers.factories import make_gate, make_test
from tests.helpers.web import KEY, OTHER, PATH, SIGNED, TEST, failed, told, triggers

App = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
START = {"type": "http.response.start", "status": 201, "headers": []}
BODY = {"type": "http.response.body", "body": b"whole"}


@pytest.fixture
def happened() -> list[dict[str, Any]]:
    return []


def raw(headers: dict[str, str]) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


CARRIES = raw(SIGNED)


def scope_of(headers: Headers, **others: Any) -> dict[str, Any]:
    scope = {"type": "http", "method": "POST", "path": PATH, "root_path": "/shop", "query_string": b"side=buy"}
    return scope | {"headers": [(b"host", b"shop"), *headers]} | others


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def handle(
    app: App, scope: dict[str, Any], happened: list[dict[str, Any]] | None = None, key: tuple[str, ...] = KEY
) -> list[Any]:
    """What the server gets to send, when ``app`` handles one request behind the middleware."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    await LiveCheckMiddleware(app, make_gate(*key, happened=happened))(scope, receive, send)
    return sent


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


def in_force() -> list[object]:
    return [current_test(), synthetic_case_var.get()]


def seen_by(scope: dict[str, Any], key: tuple[str, ...] = KEY) -> list[object]:
    """What was in force while the application ran."""
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(in_force())
        await answer(scope, receive, send)

    async def run() -> None:
        assert await handle(app, scope, key=key) == [START, BODY]
        assert in_force() == [None, None]
        assert triggered_var.get() is None

    asyncio.run(run())
    return seen


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_signed_request_is_handled_under_its_test(kind: str) -> None:
    assert seen_by(scope_of(CARRIES, type=kind)) == [TEST, None]
    assert seen_by(scope_of([(name.upper(), value) for name, value in CARRIES], type=kind)) == [TEST, None]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_signed_fake_request_is_handled_as_one(kind: str) -> None:
    with fake_request("shop.tests.test_order"):
        headers = raw(carrier.sign(carrier.outgoing(), KEY))
    assert seen_by(scope_of(headers, type=kind)) == [None, "shop.tests.test_order"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], KEY),
        (raw(TEST.as_headers()), KEY),
        (raw(SIGNED | {"LiveCheck-Test-Id": "order-2"}), KEY),
        (CARRIES, ("another secret",)),
        (CARRIES, ()),
        (CARRIES * 2, KEY),
        ([*CARRIES, (b"LiveCheck-Test-Id", b"order-1")], KEY),
        ([*CARRIES, (b"livecheck-test-signature", b"")], KEY),
    ],
)
def test_a_request_that_is_not_signed_right_is_handled_as_usual(
    headers: Headers, key: tuple[str, ...], kind: str
) -> None:
    assert seen_by(scope_of(headers, type=kind), key) == [None, None]


def test_a_request_without_headers_is_handled_as_usual() -> None:
    scope = scope_of([])
    del scope["headers"]
    assert seen_by(scope) == [None, None]


header = st.tuples(st.one_of(st.sampled_from([name for name, _ in CARRIES]), st.binary()), st.binary())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(header), st.booleans())
def test_junk_in_the_headers_costs_a_request_nothing(headers: Headers, on_top: bool) -> None:
    ours = {name for name, _ in CARRIES}
    is_intact = on_top and not any(name.lower() in ours for name, _ in headers)
    scope = scope_of(CARRIES + headers if on_top else headers)
    assert seen_by(scope) == [TEST if is_intact else None, None]


@pytest.mark.parametrize("kind", ["lifespan", "something new"])
def test_what_is_no_request_passes_untouched(kind: str) -> None:
    passed: list[Any] = []

    async def app(*given: Any) -> None:
        passed.extend(given)

    scope, send = {"type": kind}, object()
    asyncio.run(LiveCheckMiddleware(app, make_gate(*KEY))(scope, receive, send))  # type: ignore[arg-type]
    assert [id(one) for one in passed] == [id(one) for one in (scope, receive, send)]
    assert scope == {"type": kind}


def test_messages_pass_as_they_are_and_when_they_are_sent() -> None:
    scope = scope_of(CARRIES)
    copy = dict(scope)
    sent: list[Any] = []

    async def app(given: Any, receiving: Any, send: Any) -> None:
        assert given is scope
        assert receiving is receive
        for number in range(3):
            message = {"type": "http.response.body", "more_body": True, "number": number}
            await send(message)
            assert sent[-1] is message

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(LiveCheckMiddleware(app, make_gate(*KEY))(scope, receive, send))
    assert scope == copy
    assert sent == [{"type": "http.response.body", "more_body": True, "number": number} for number in range(3)]


@pytest.mark.parametrize(
    "last", [BODY, {**BODY, "more_body": False}, {"type": "http.response.pathsend", "path": "/etc/motd"}]
)
def test_the_answer_is_told_when_its_last_part_has_been_sent(
    happened: list[dict[str, Any]], last: dict[str, Any]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in (START, *[{"type": "http.response.body", "body": b"part", "more_body": True}] * 2):
            await send(message)
            assert happened == []
        triggers(OTHER)
        await send(last)
        assert happened == [told(TEST, OTHER)]
        triggers(make_test("too late"))

    asyncio.run(handle(app, scope_of(CARRIES), happened))
    assert happened == [told(TEST, OTHER)]


def test_a_request_in_no_test_tells_nobody(happened: list[dict[str, Any]]) -> None:
    asyncio.run(handle(answer, scope_of([]), happened))
    assert happened == []


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
def test_the_path_is_the_one_the_client_typed(happened: list[dict[str, Any]], path: str, root: str, full: str) -> None:
    asyncio.run(handle(answer, scope_of(CARRIES, path=path, root_path=root), happened))
    assert happened == [told(TEST, path=full)]


@pytest.mark.parametrize("error", [ValueError("no such side"), asyncio.CancelledError("no such side")])
def test_errors_are_the_applications_own_and_are_told(happened: list[dict[str, Any]], error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise error

    async def run() -> None:
        with pytest.raises(type(error), match="no such side") as raised:
            await handle(app, scope_of(CARRIES), happened)
        assert raised.value is error
        assert in_force() == [None, None]

    asyncio.run(run())
    assert happened == [failed(f"raised {type(error).__name__}: no such side", TEST)]


def test_an_error_after_the_answer_is_no_news(happened: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(scope, receive, send)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(handle(app, scope_of(CARRIES), happened))
    assert happened == [told(TEST)]


def test_an_answer_that_says_error_is_told_as_one(happened: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": 503})
        await send(BODY)

    asyncio.run(handle(app, scope_of(CARRIES), happened))
    assert happened == [failed("answered 503", TEST)]


def test_a_conversation_is_not_answered(happened: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert triggered_var.get() is None
        await send({"type": "websocket.accept"})
        assert current_test() == TEST
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(handle(app, scope_of(CARRIES, type="websocket"), happened))
    assert happened == []


def test_what_a_request_starts_is_part_of_its_test() -> None:
    async def run() -> None:
        go_on = asyncio.Event()
        started: list[asyncio.Task[list[object]]] = []

        async def work() -> list[object]:
            await go_on.wait()
            return [*in_force(), await asyncio.to_thread(current_test)]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            started.append(asyncio.create_task(work()))
            await answer(scope, receive, send)

        await handle(app, scope_of(CARRIES))
        go_on.set()
        assert await started[0] == [TEST, None, TEST]

    asyncio.run(run())


def test_requests_of_many_tasks_keep_to_their_own_test() -> None:
    seen: dict[str, TestExecution | None] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            seen.setdefault(scope["name"], current_test())
            assert seen[scope["name"]] == current_test()
            await send({"type": "http.response.body", "more_body": True})

    async def run() -> None:
        requests: list[Coroutine[Any, Any, Any]] = []
        for number in range(50):
            test = make_test(str(number))
            requests += [
                handle(app, scope_of(raw(carrier.sign(test.as_headers(), KEY)), name=test.id)),
                handle(app, scope_of([], name=f"{number} in no test")),
            ]
        await asyncio.gather(*requests)
        assert current_test() is None

    asyncio.run(run())
    assert {name: test and test.id for name, test in seen.items()} == {
        str(number): str(number) for number in range(50)
    } | {f"{number} in no test": None for number in range(50)}


def test_a_request_in_the_context_of_an_earlier_one_is_no_part_of_its_tests(happened: list[dict[str, Any]]) -> None:
    contexts: list[Context] = []
    seen: list[object] = []

    async def first(scope: Any, receive: Any, send: Any) -> None:
        contexts.append(copy_context())
        triggers(OTHER)
        with under_test(OTHER), fake_request("shop.test_order"):
            contexts.append(copy_context())
            await answer(scope, receive, send)

    async def second(scope: Any, receive: Any, send: Any) -> None:
        seen.append(in_force())
        await answer(scope, receive, send)

    async def run() -> None:
        await handle(first, scope_of(CARRIES), happened)
        for context in contexts:
            for headers, kind in (([], "http"), ([], "websocket"), (CARRIES, "http")):
                request = handle(second, scope_of(headers, type=kind), happened)
                await asyncio.create_task(request, context=context.copy())

    asyncio.run(run())
    assert seen == [[None, None], [None, None], [TEST, None]] * 2
    assert happened == [told(TEST, OTHER), told(TEST), told(TEST)]


def test_a_test_triggered_around_the_middleware_stays_in_force(happened: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(in_force())
        await answer(scope, receive, send)

    async def run() -> None:
        contexts = [Context()]

        async def leave_context(*_: object) -> None:
            contexts.append(copy_context())

        await handle(leave_context, scope_of(CARRIES))
        for context in contexts:
            context.run(current_test_var.set, OTHER)
            await asyncio.create_task(handle(app, scope_of([]), happened), context=context)

    asyncio.run(run())
    assert seen == [[OTHER, None]] * 2
    assert happened == [told(OTHER)] * 2


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_request_that_nobody_waits_for_any_more_ends_quietly(happened: list[dict[str, Any]], kind: str) -> None:
    async def app(*_: object) -> None:
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    request = handle(app, scope_of(CARRIES, type=kind), happened)
    copy_context().run(request.send, None)
    request.close()
    loop.close()
    assert happened == []
