"""`get_url`, `post_url` and `url_request` of a case of the asyncio face, and clients that propagate the test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from celery import Celery

import livecheck_celery
from livecheck_celery import ConfigurationError, State, SuiteFailed, aio
from livecheck_celery.cases.arguments import build
from livecheck_celery.context import under_test
from livecheck_celery.delivery.publisher import CASE_KEYWORD
from livecheck_celery.propagation.headers import parse
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.factories import make_test
from tests.helpers.http_server import KEY, REDIRECTS, Server, redirecting
from tests.helpers.http_server import running as receiving
from tests.helpers.order_case import outcomes
from tests.helpers.scripted_http import hang_up, ok, running, status
from tests.helpers.signing import verify


@pytest.fixture
def case(livecheck: aio.LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order", url_error_retries=1, url_error_delay_min=0.01, frequency=0.2)
    class test_order(aio.Case): ...

    return test_order


@pytest.fixture
def server() -> Iterator[Server]:
    with receiving() as server:
        yield server


def test_url_methods_return_the_body(case: Any) -> None:
    async def requests() -> list[bytes | None]:
        return [
            await case.get_url(server.url),
            await case.post_url(server.url, json={"side": "buy"}),
            await case.url_request("put", server.url, content=b"order"),
        ]

    with running(ok(b"hello")) as server:
        assert asyncio.run(requests()) == [b"hello"] * 3
        assert server.hits == ["GET /", "POST /", "PUT /"]
    assert case.status is State.INIT


def test_url_settings_of_the_case_apply(livecheck: aio.LiveCheck) -> None:
    options = {"url_timeout_total": 0.2, "url_error_retries": 0}
    case: Any = livecheck.add_case(type("test_order", (aio.Case,), {}), name="shop.test_order", **options)
    with running(lambda handler: handler.drip(prelude=b"", byte=b"")) as server:
        assert asyncio.run(case.get_url(server.url)) is None
        assert outcomes(case) == [
            (State.FAIL, f"GET {server.url}: no complete answer within 0.2 s (1 attempt)"),
        ]


def test_suite_fails_with_a_service_and_recovers_with_it(case: Any) -> None:
    with running(status(503), hang_up, ok(b"hello")) as server:
        assert asyncio.run(case.get_url(server.url)) is None
        assert len(server.hits) == 2
        assert case.status is State.FAIL
        hung_up = "Remote end closed connection without response"
        assert outcomes(case) == [(State.FAIL, f"GET {server.url}: {hung_up} (2 attempts)")]

        assert asyncio.run(case.get_url(server.url)) == b"hello"
        assert case.status is State.FAIL, "not before state_transition_delay has passed"
        case.state_transition_delay = 0.0
        assert asyncio.run(case.get_url(server.url)) == b"hello"
        assert case.status is State.PASS


def test_failure_calls_the_hook_on_the_loop(livecheck: aio.LiveCheck) -> None:
    called = []

    class test_order(aio.Case):
        async def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            await asyncio.sleep(0)
            called.append((type(exc).__name__, new_state, asyncio.get_running_loop()))

    case: Any = livecheck.add_case(test_order, name="shop.test_order", url_error_retries=0)

    async def main() -> asyncio.AbstractEventLoop:
        with running(status(404)) as server:
            for _ in range(2):
                assert await case.get_url(server.url) is None
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert called == [("ServiceDown", State.FAIL, loop)]


def test_recovery_is_noted_in_another_thread(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(type(case), "_service_answered", lambda self: threads.append(threading.current_thread()))
    with running(ok()) as server:
        asyncio.run(case.get_url(server.url))
    assert [thread is not threading.main_thread() for thread in threads] == [True]


def test_invalid_request_is_an_error_of_the_caller(case: Any) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        asyncio.run(case.get_url("shop/orders"))
    assert case.status is State.INIT


@pytest.mark.parametrize(("route", "tests"), REDIRECTS)
def test_each_hop_of_a_redirect_gets_the_test_if_its_host_is_listed(
    case: Any, server: Server, route: list[str], tests: list[str | None]
) -> None:
    with under_test(make_test("order-1")):
        asyncio.run(case.get_url(redirecting(server, route)))
    assert server.tests() == tests


def test_each_attempt_carries_the_test(case: Any) -> None:
    with running(status(503), ok()) as server, under_test(make_test("order-1")):
        asyncio.run(case.get_url(server.url))
    assert ["order-1" in each["LiveCheck-Test-Id"] for each in server.headers] == [True, True]


def test_other_clients_of_the_process_carry_nothing(case: Any, server: Server) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await case.get_url(server.url())
            await client.get(server.url())

    with under_test(make_test("order-1")):
        asyncio.run(main())
    assert server.tests() == ["order-1", None]


def test_test_that_run_executes_is_carried(livecheck: aio.LiveCheck, server: Server) -> None:
    class test_order(aio.Case):
        async def run(self) -> None:
            assert await self.get_url(server.url()) == b""

    case: Any = livecheck.add_case(test_order, name="shop.test_order")
    assert case.execute_here(build(case, "o-1")).state is State.PASS
    assert server.tests() == ["o-1"]


def test_fake_request_sends_its_mark_signed(case: Any, server: Server) -> None:
    async def make_fake_request(self: Any) -> None:
        await self.get_url(server.url())

    type(case).make_fake_request = make_fake_request
    Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    [request] = server.received
    mark = parse(verify(request.known_headers(), (KEY,)) or {}).mark
    assert mark is not None
    assert mark.case_name == "shop.test_order"


def test_case_of_this_face_makes_requests_on_the_other_livecheck(redis_url: str, server: Server) -> None:
    app = Celery("shop", broker=redis_url, set_as_current=False)
    other = livecheck_celery.LiveCheck(app, secret_key=KEY, http_hosts=["127.0.0.1"])
    case: Any = other.add_case(type("test_order", (aio.Case,), {}), name="shop.test_order")
    with under_test(make_test("order-1")):
        assert asyncio.run(case.get_url(server.url())) == b""
    assert server.tests() == ["order-1"]
    other.close()


def test_client_carries_the_test(livecheck: aio.LiveCheck, server: Server) -> None:
    async def main() -> None:
        mounts: Any = {"all://127.0.0.1": httpx.AsyncHTTPTransport(), "all://elsewhere": None}
        async with livecheck.client(base_url=server.url(), mounts=mounts, follow_redirects=True) as client:
            await client.get("/orders")
            await client.get(redirecting(server, ["localhost", "127.0.0.1"]))
        async with livecheck.client(transport=httpx.AsyncHTTPTransport()) as client:
            await client.get(server.url())
        async with livecheck.client(proxy=server.url(), verify=False) as client:
            await client.get("http://127.0.0.1:1/proxied")

    with under_test(make_test("order-1")):
        asyncio.run(main())
    assert server.tests() == ["order-1", None, "order-1", "order-1", "order-1"]
    assert [each.target for each in server.received][-1] == "http://127.0.0.1:1/proxied"


def test_missing_extra_is_named_when_it_is_needed(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecheck_celery.aio.extras.is_installed", lambda name: False)
    for use in (lambda: asyncio.run(case.get_url("http://shop/")), case.app.client):
        with pytest.raises(ConfigurationError, match=r'pip install "livecheck-celery\[aio\]"'):
            use()


def test_face_is_imported_without_httpx() -> None:
    program = "import sys; sys.modules['httpx'] = None; import livecheck_celery.aio as aio; aio.LiveCheck()"
    subprocess.run([sys.executable, "-c", program], check=True)
    program = "import livecheck_celery.aio, sys; assert 'httpx' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
