"""Instrumented HTTP clients send the same requests as before, even if adding the headers fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from urllib3._collections import HTTPHeaderDict

from livecheck_celery.context import under_test
from livecheck_celery.propagation.gate import Gate
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_clients import ASYNC, CLIENTS, SYNC, AsyncClient, Call, Client
from tests.helpers.http_server import KEY, Server
from tests.helpers.waiting import at_once

TEST = make_test("order-1")
LISTED = make_gate(KEY, hosts=["127.0.0.1"])

Instrument = Callable[[str, Gate], Callable[[], None]]
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())


class Broken(Gate):
    """Raises on each call, and counts them."""

    def __init__(self) -> None:
        super().__init__(
            None,
            count_ignored=lambda _: None,
            operation_finished=lambda *_, **__: None,
            on_request=lambda: None,
        )
        self.calls = 0

    def headers_for(self, host: str | None) -> Mapping[str, str]:
        self.calls += 1
        raise RuntimeError("broken")


@pytest.mark.promise("A request is sent even if adding the headers fails.", theme="propagation")
@every_client
def test_error_in_the_gate_does_not_fail_the_request(client: Client, instrument: Instrument, server: Server) -> None:
    gate = Broken()
    instrument(client.library, gate)
    with under_test(TEST):
        client.send(server.url())
    assert gate.calls == 1
    assert server.tests() == [None]


@every_client
def test_gate_is_not_called_outside_a_test(client: Client, instrument: Instrument, server: Server) -> None:
    gate = Broken()
    instrument(client.library, gate)
    client.send(server.url())
    assert gate.calls == 0
    assert server.tests() == [None]


@every_client
def test_bodies_are_streamed_and_connections_are_reused(client: Client, instrument: Instrument, server: Server) -> None:
    parts = [b"a" * 70_000, b"b", b"c" * 70_000]
    call = Call(server.url(), "POST", body=parts)
    instrument(client.library, LISTED)
    with under_test(TEST):
        client.send(call, call, server.url())
    assert [received.body for received in server.received] == [b"".join(parts)] * 2 + [b""]
    assert server.tests() == ["order-1"] * 3
    assert len(server.connections) == 1


@pytest.mark.promise("Each thread sends its own test.", theme="propagation")
@pytest.mark.parametrize("client", SYNC.values(), ids=SYNC.keys())
def test_concurrent_threads_keep_their_own_test(client: Client, instrument: Instrument, server: Server) -> None:
    instrument(client.library, LISTED)
    with client.open(None) as send:

        def work(number: int) -> None:
            for _ in range(5):
                with under_test(make_test(f"order-{number}")):
                    send(Call(server.url(path=f"/order-{number}")))
                send(Call(server.url(path="/None")))

        at_once(8, work)
    assert len(server.received) == 80
    assert all(received.target == f"/{received.test_id()}" for received in server.received)


@pytest.mark.promise("Each asyncio task sends its own test.", theme="propagation")
@pytest.mark.parametrize("client", ASYNC.values(), ids=ASYNC.keys())
def test_concurrent_tasks_keep_their_own_test(client: AsyncClient, instrument: Instrument, server: Server) -> None:
    instrument(client.library, LISTED)

    async def work(send: Callable[[Call], Any], number: int) -> None:
        for _ in range(5):
            with under_test(make_test(f"order-{number}")):
                await send(Call(server.url(path=f"/order-{number}")))
            await send(Call(server.url(path="/None")))

    async def main() -> None:
        async with client.open(None) as send:
            await asyncio.gather(*(work(send, number) for number in range(8)))

    asyncio.run(main())
    assert len(server.received) == 80
    assert all(received.target == f"/{received.test_id()}" for received in server.received)


def test_requests_returns_the_callers_own_request(instrument: Instrument, server: Server) -> None:
    instrument("requests", LISTED)
    with requests.Session() as session, under_test(TEST):
        session.trust_env = False
        request = session.prepare_request(requests.Request("GET", server.url()))
        before = dict(request.headers)
        assert session.send(request).request is request
        request.url = "http://127.0.0.1:1/"
        with pytest.raises(requests.ConnectionError) as raised:
            session.send(request)
    assert raised.value.request is request
    assert request.headers == before
    assert server.tests() == ["order-1"]


def test_request_resent_by_a_hook_to_another_host_carries_nothing(instrument: Instrument, server: Server) -> None:
    instrument("requests", LISTED)

    def elsewhere(response: requests.Response, **options: Any) -> requests.Response:
        again = response.request.copy()
        again.url = server.url("localhost")
        return response.connection.send(again, **options)

    with requests.Session() as session, under_test(TEST):
        session.trust_env = False
        session.get(server.url(), hooks={"response": elsewhere})
    assert server.tests() == ["order-1", None]


def test_httpx_returns_the_callers_own_request(instrument: Instrument, server: Server) -> None:
    instrument("httpx", LISTED)
    with httpx.Client(trust_env=False) as client, under_test(TEST):
        request = client.build_request("GET", server.url())
        before = request.headers.raw
        assert client.send(request).request is request
    assert request.headers.raw == before
    assert server.tests() == ["order-1"]


def test_urllib3_headers_of_caller_and_pool_are_not_modified(instrument: Instrument, server: Server) -> None:
    instrument("urllib3", LISTED)
    mine = HTTPHeaderDict([("X", "1"), ("X", "2")])
    pool_headers = {"Y": "1"}
    with urllib3.PoolManager(headers=pool_headers) as pools, under_test(TEST):
        pools.request("GET", server.url())
        pools.request("GET", server.url(), headers=mine)
        with urllib3.HTTPConnectionPool(*server.server_address, headers=pool_headers) as pool:
            pool.urlopen("GET", "/")
    assert (pool_headers, mine.getlist("X"), len(mine)) == ({"Y": "1"}, ["1", "2"], 1)
    first, second, third = server.received
    assert ("Y", "1") in first.headers
    assert ("Y", "1") in third.headers
    assert [pair for pair in second.headers if pair[0] == "X"] == [("X", "1"), ("X", "2")]
    assert server.tests() == ["order-1"] * 3


def test_urllib3_pool_redirecting_to_any_host_carries_nothing(instrument: Instrument, server: Server) -> None:
    instrument("urllib3", make_gate(KEY, hosts=["shop.example"]))
    with urllib3.ProxyManager(server.url()) as proxy, under_test(TEST):
        pool = proxy.connection_from_url("http://shop.example/")
        url = "http://shop.example/?to=http://evil.example/"
        pool.urlopen("GET", url, assert_same_host=False)
        pool.urlopen("GET", url, assert_same_host=False, redirect=False)
    assert server.tests() == [None, None, "order-1"]


def test_urllib3_pool_is_judged_by_its_host_not_by_the_url(instrument: Instrument, server: Server) -> None:
    instrument("urllib3", make_gate(KEY, hosts=["shop.example"]))
    with urllib3.HTTPConnectionPool("localhost", server.server_address[1]) as pool, under_test(TEST):
        pool.urlopen("GET", "http://shop.example/", assert_same_host=False, redirect=False)
    assert server.tests() == [None]


def test_urllib3_tunnel_is_judged_by_its_target(instrument: Instrument) -> None:
    from livecheck_celery.propagation.clients.urllib3 import _host

    with urllib3.ProxyManager("http://proxy.example/") as proxy:
        assert _host(proxy.connection_from_url("https://shop.example/"), "/orders") == "shop.example"


def test_urllib3_retries_carry_the_test(instrument: Instrument, server: Server) -> None:
    instrument("urllib3", LISTED)
    retries = urllib3.Retry(2, status_forcelist=[200], raise_on_status=False)
    with urllib3.PoolManager() as pools, under_test(TEST):
        pools.request("GET", server.url(), retries=retries)
    assert server.tests() == ["order-1"] * 3


@pytest.mark.skipif(not hasattr(aiohttp, "ClientMiddlewareType"), reason="aiohttp has middlewares since 3.12")
def test_aiohttp_middleware_can_resend_its_request(instrument: Instrument, server: Server) -> None:
    instrument("aiohttp", LISTED)
    kept: list[dict[str, str]] = []

    async def twice(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        first = await handler(request)
        first.release()
        kept.append(dict(request.headers))
        return await handler(request)

    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[twice]) as session, session.get(server.url()) as response:
            assert response.request_info.headers["LiveCheck-Test-Id"] == "order-1"

    with under_test(TEST):
        asyncio.run(main())
    assert "LiveCheck-Test-Id" not in kept[0]
    assert server.tests() == ["order-1", "order-1"]


def test_aiohttp_websocket_carries_the_test(instrument: Instrument, server: Server) -> None:
    instrument("aiohttp", LISTED)

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(server.url())

    with under_test(TEST):
        asyncio.run(main())
    assert server.tests() == ["order-1"]
