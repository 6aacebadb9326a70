"""The ASGI middleware: the test of a request is current while it is served."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.blocks import Block, current_work
from livecheck_celery.context import collect, current_test, fake_request, under_test
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.asgi import LiveCheckMiddleware
from livecheck_celery.propagation.headers import outgoing
from tests.helpers.asgi import (
    ACCEPTED,
    BODY,
    CARRIES,
    START,
    Headers,
    context_here,
    raw,
    receive,
    respond,
    scope_of,
    serve,
)
from tests.helpers.factories import make_gate, make_test
from tests.helpers.signing import sign
from tests.helpers.web import KEY, OTHER, SIGNED, TEST, succeeded, trigger


def seen_by(scope: dict[str, Any], key: tuple[str, ...] = KEY) -> list[object]:
    """The LiveCheck context while the application ran; only a response to an accepted test differs, in its header."""
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(context_here())
        await respond(scope, receive, send)

    async def run() -> None:
        sent = await serve(app, scope, key=key)
        is_accepted = scope["type"] == "http" and seen != [None, None]
        start = {**START, "headers": [*START.get("headers", ()), ACCEPTED]} if is_accepted else START
        assert sent == [start, BODY]
        assert context_here() == [None, None]
        assert current_work() is None

    asyncio.run(run())
    return seen


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_signed_request_is_served_under_its_test(kind: str) -> None:
    assert seen_by(scope_of(CARRIES, type=kind)) == [TEST, None]
    assert seen_by(scope_of([(name.upper(), value) for name, value in CARRIES], type=kind)) == [TEST, None]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_signed_fake_request_is_recognized(kind: str) -> None:
    with fake_request("shop.tests.test_order"):
        headers = raw(sign(outgoing(), KEY))
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
def test_request_without_valid_signature_is_served_without_a_test(
    headers: Headers, key: tuple[str, ...], kind: str
) -> None:
    assert seen_by(scope_of(headers, type=kind), key) == [None, None]


def test_scope_without_headers_is_served_without_a_test() -> None:
    scope = scope_of([])
    del scope["headers"]
    assert seen_by(scope) == [None, None]


header = st.tuples(st.one_of(st.sampled_from([name for name, _ in CARRIES]), st.binary()), st.binary())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(header), st.booleans())
def test_random_header_values_never_fail_a_request(headers: Headers, on_top: bool) -> None:
    ours = {name for name, _ in CARRIES}
    is_intact = on_top and not any(name.lower() in ours for name, _ in headers)
    scope = scope_of(CARRIES + headers if on_top else headers)
    assert seen_by(scope) == [TEST if is_intact else None, None]


@pytest.mark.parametrize("kind", ["lifespan", "something new"])
def test_other_scope_types_pass_unchanged(kind: str) -> None:
    passed: list[Any] = []

    async def app(*given: Any) -> None:
        passed.extend(given)

    scope, send = {"type": kind}, object()
    asyncio.run(LiveCheckMiddleware(app, make_gate(*KEY))(scope, receive, send))
    assert [id(one) for one in passed] == [id(one) for one in (scope, receive, send)]
    assert scope == {"type": kind}


def test_messages_pass_unchanged_and_unbuffered() -> None:
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


def test_tasks_started_by_a_request_are_part_of_its_test() -> None:
    async def run() -> None:
        proceed = asyncio.Event()
        started: list[asyncio.Task[list[object]]] = []

        async def work() -> list[object]:
            await proceed.wait()
            return [*context_here(), await asyncio.to_thread(current_test)]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            started.append(asyncio.create_task(work()))
            await respond(scope, receive, send)

        await serve(app, scope_of(CARRIES))
        proceed.set()
        assert await started[0] == [TEST, None, TEST]

    asyncio.run(run())


def test_concurrent_tasks_keep_their_own_test() -> None:
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
                serve(app, scope_of(raw(sign(test.as_headers(), KEY)), name=test.id)),
                serve(app, scope_of([], name=f"{number} in no test")),
            ]
        await asyncio.gather(*requests)
        assert current_test() is None

    asyncio.run(run())
    assert {name: test and test.id for name, test in seen.items()} == {
        str(number): str(number) for number in range(50)
    } | {f"{number} in no test": None for number in range(50)}


def test_request_in_the_context_of_an_earlier_one_does_not_inherit_its_tests(finished: list[dict[str, Any]]) -> None:
    contexts: list[Context] = []
    seen: list[object] = []

    async def first(scope: Any, receive: Any, send: Any) -> None:
        contexts.append(copy_context())
        trigger(OTHER)
        with under_test(OTHER), fake_request("shop.test_order"):
            contexts.append(copy_context())
            await respond(scope, receive, send)

    async def second(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context_here())
        await respond(scope, receive, send)

    async def run() -> None:
        await serve(first, scope_of(CARRIES), finished)
        for context in contexts:
            for headers, kind in (([], "http"), ([], "websocket"), (CARRIES, "http")):
                request = serve(second, scope_of(headers, type=kind), finished)
                await asyncio.create_task(request, context=context.copy())

    asyncio.run(run())
    assert seen == [[None, None], [None, None], [TEST, None]] * 2
    assert finished == [succeeded(TEST, OTHER), succeeded(TEST), succeeded(TEST)]


def test_test_of_outer_middleware_stays_current(finished: list[dict[str, Any]]) -> None:
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context_here())
        await respond(scope, receive, send)

    async def run() -> None:
        contexts = [Context()]

        async def leave_context(*_: object) -> None:
            contexts.append(copy_context())

        await serve(leave_context, scope_of(CARRIES))
        for context in contexts:
            context.run(Block((OTHER,)).__enter__)
            await asyncio.create_task(serve(app, scope_of([]), finished), context=context)

    asyncio.run(run())
    assert seen == [[OTHER, None]] * 2
    assert finished == [succeeded(OTHER)] * 2


@pytest.mark.parametrize("steps", [["start"], [], ["start", "part"]])
def test_parts_made_in_other_threads_are_part_of_a_test_whose_block_the_first_of_them_entered(steps: list[str]) -> None:
    """A plain generator of a framework whose responses are not Starlette's, such as events of sse-starlette."""
    seen: list[Any] = []

    def parts() -> Any:
        collect(TEST, lingers=True)
        block = Block((TEST,)).__enter__()
        for _ in range(3):
            seen.append(current_test())
            yield {**BODY, "more_body": True}
        block.__exit__()

    async def stream(send: Any) -> None:
        generator = parts()
        while message := await asyncio.to_thread(next, generator, None):
            await send(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if "part" in steps:
            await send({**BODY, "more_body": True})
        await (asyncio.create_task(stream(send)) if "start" in steps else stream(send))
        await send(BODY)
        seen.append(current_test())

    asyncio.run(serve(app, scope_of([])))
    assert seen == [TEST, TEST, TEST, None]
