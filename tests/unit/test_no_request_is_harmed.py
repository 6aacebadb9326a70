"""Nothing of LiveCheck raises in a request, whatever settings, headers, contexts and values it meets."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest
import requests
from celery import Celery
from celery.signals import before_task_publish
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from livecheck_celery import LiveCheck, Signal
from livecheck_celery.context import under_test
from livecheck_celery.guard import GUARD, Guard
from livecheck_celery.propagation.celery import _before_task, _leave_task
from tests.helpers import hostile
from tests.helpers.factories import make_test
from tests.helpers.http_server import KEY

BROKER = "redis://localhost:1/0"
#: The application's own error, which must propagate.
MINE = ValueError("of the application")

fuzz = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


@contextmanager
def few_lines() -> Iterator[None]:
    """Fail if LiveCheck logs one line twice."""
    lines: Counter[str] = Counter()

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines[record.getMessage()] += 1

    handler, logger = Count(), logging.getLogger("livecheck_celery")
    logger.addHandler(handler)
    GUARD.throttle = Guard().throttle
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert [line for line, count in lines.items() if count > 1] == []
    assert lines.total() < 15


def declare(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order", probability=1.0)
    class test_order:
        stored: Signal[int]
        anything: Signal[Any]

        def run(self) -> None: ...

    return test_order


@pytest.fixture
def shop() -> Iterator[Any]:
    """A case whose servers do not answer."""
    livecheck = LiveCheck(
        Celery("shop", broker=BROKER, set_as_current=False),
        secret_key=KEY,
        max_payload=10_000,
    )
    yield declare(livecheck)
    livecheck.close()


def serve(livecheck: LiveCheck, environ: dict[str, Any], work: Callable[[], None] = lambda: None) -> None:
    """Serve two WSGI requests, of which the second one raises."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        work()
        start_response("200 OK", [])
        return [b"stored"]

    def failing(environ: Any, start_response: Any) -> list[bytes]:
        raise MINE

    assert list(livecheck.wsgi(app)(environ, lambda *_: lambda _: None)) == [b"stored"]
    with pytest.raises(ValueError, match="of the application") as caught:
        livecheck.wsgi(failing)(environ, lambda *_: lambda _: None)
    assert caught.value is MINE


def serve_async(livecheck: LiveCheck, scope: dict[str, Any]) -> None:
    """Serve two ASGI requests, of which the second one raises."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in MESSAGES:
            await send(message)

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise MINE

    async def work() -> None:
        await livecheck.asgi(app)(scope, None, send)
        assert sent == MESSAGES
        with pytest.raises(ValueError, match="of the application"):
            await livecheck.asgi(failing)(scope, None, send)

    asyncio.run(work())


def store() -> None:
    """A task."""


MESSAGES = [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}, {"type": "mine"}, {}]


@pytest.mark.promise("No setting, URL or host makes a request fail.", theme="requests")
@fuzz
@given(hostile.settings)
def test_settings_do_not_harm_a_request(options: dict[str, Any]) -> None:
    livecheck = LiveCheck(Celery("shop", broker=BROKER, set_as_current=False), **options)
    case = declare(livecheck)

    def work() -> None:
        for _ in range(2):
            with case.maybe_trigger("1", side="sell"):
                case.stored.send(1)
            with under_test(make_test(case_name=case.name)):
                case.stored.send(2)
                livecheck.inject({})
            with livecheck.extract([("LiveCheck-Test-Id", "1")]):
                pass
        livecheck.operation_finished("request", "GET /", [make_test()], value=1)

    with few_lines():
        serve(livecheck, {"HTTP_LIVECHECK_TEST_ID": "1", "REQUEST_METHOD": "GET", "PATH_INFO": "/"}, work)
        serve_async(livecheck, {"type": "http", "headers": [(b"livecheck-test-id", b"1")], "path": "/"})
        request = requests.Request("GET", "http://localhost:1/").prepare()
        with under_test(make_test()):
            livecheck.session().adapters["http://"]._instrumentation.apply(lambda gate: gate.headers_for("localhost"))
        assert request.headers == {}
    livecheck.close()


@pytest.mark.promise("No id, argument, value or key makes a trigger or a signal raise.", theme="requests")
@fuzz
@given(hostile.values, st.lists(hostile.values, max_size=2), hostile.values, hostile.values)
def test_values_do_not_harm_a_request(shop: Any, test_id: Any, args: list[Any], value: Any, key: Any) -> None:
    shop.app.guard.throttle = Guard().throttle
    shop.app.runtime.outbox._throttle = Guard().throttle
    with few_lines():
        for signal in (shop.stored, shop.anything):
            signal.send(value)
            with shop.maybe_trigger(test_id, *args, side=value):
                signal.send(value)
                signal.send(value, key=key)
                signal.send(value, key="k", force=True)
            signal.send(value, key=key, force=True)
        shop.app.operation_finished("task", "orders.store", [make_test()], value=value)
        before_task_publish.send(sender="orders.store", headers={"id": value})


@fuzz
@given(hostile.headers, st.dictionaries(st.sampled_from(["HTTP_BAGGAGE", "PATH_INFO", "SCRIPT_NAME"]), hostile.values))
def test_headers_do_not_harm_a_request(shop: Any, headers: Any, environ: dict[str, Any]) -> None:
    livecheck: LiveCheck = shop.app
    livecheck.guard.throttle = Guard().throttle
    with few_lines():
        livecheck.gate.accept(headers if isinstance(headers, list) else [])
        with livecheck.extract(headers):
            pass
        with under_test(make_test()):
            livecheck.inject(headers)
        serve(livecheck, {"REQUEST_METHOD": "GET", **environ})
        serve_async(livecheck, {"type": "http", "headers": headers, "path": environ.get("PATH_INFO", "/")})
        task = Celery("t", set_as_current=False).task(store, name="orders.store", shared=False)
        task.push_request(headers=headers, id="1")
        _before_task(task=task)
        _leave_task(task=task)


def leave_here(block: Any) -> None:
    block.__enter__()
    block.__exit__(None, None, None)


def leave_in_another_context(block: Any) -> None:
    copy_context().run(block.__enter__)
    copy_context().run(block.__exit__, None, None, None)


def leave_in_another_thread(block: Any) -> None:
    block.__enter__()
    thread = threading.Thread(target=block.__exit__, args=(None, None, None))
    thread.start()
    thread.join()


def leave_twice(block: Any) -> None:
    block.__enter__()
    block.__exit__(None, None, None)
    block.__exit__(None, None, None)


def never_leave(block: Any) -> None:
    copy_context().run(block.__enter__)
    gc.collect()


def close_a_generator(block: Any) -> None:
    def generate() -> Iterator[None]:
        with block:
            yield

    generator = generate()
    copy_context().run(next, generator)
    copy_context().run(generator.close)


def leave_in_another_task(block: Any) -> None:
    async def work() -> None:
        await asyncio.create_task(block.__aenter__())
        await asyncio.create_task(block.__aexit__(None, None, None))

    asyncio.run(work())


def shut_the_loop_down(block: Any) -> None:
    async def generate() -> Any:
        async with block:
            yield

    async def work() -> None:
        await anext(generate())

    asyncio.run(work())


WAYS = [
    leave_here,
    leave_in_another_context,
    leave_in_another_thread,
    leave_twice,
    never_leave,
    close_a_generator,
    leave_in_another_task,
    shut_the_loop_down,
]


@settings(fuzz, max_examples=30)
@given(st.lists(st.sampled_from(WAYS), min_size=1, max_size=4))
def test_leaving_a_block_anywhere_does_not_harm_a_request(shop: Any, ways: list[Callable[[Any], None]]) -> None:
    shop.app.guard.throttle = Guard().throttle
    with few_lines():
        for leave in ways:
            copy_context().run(leave, shop.maybe_trigger())


def test_error_in_a_block_propagates_unchanged(shop: Any) -> None:
    with pytest.raises(ValueError, match="of the application") as caught, shop.maybe_trigger():
        raise MINE
    assert caught.value is MINE


def test_clients_are_left_alone_by_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(HTTPAdapter, "send", lambda self, request, **_: sent.append(request) or response)
    response = requests.Response()
    response.status_code = 200
    livecheck = LiveCheck(Celery("shop", broker=BROKER, set_as_current=False), http_hosts="http://[::1")
    livecheck.instrument("requests")
    try:
        with under_test(make_test()):
            assert requests.get("http://localhost:1/", timeout=1).status_code == 200
    finally:
        livecheck.close()
    assert [request.headers.get("LiveCheck-Test-Id") for request in sent] == [None]
