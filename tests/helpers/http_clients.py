"""The HTTP clients that can carry tests, behind one interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import aiohttp
import httpx
import requests
import urllib3
from requests.adapters import HTTPAdapter

#: The methods that instrumenting a library replaces.
METHODS: dict[str, list[tuple[type, str]]] = {
    "requests": [(HTTPAdapter, "send")],
    "httpx": [(httpx.HTTPTransport, "handle_request"), (httpx.AsyncHTTPTransport, "handle_async_request")],
    "urllib3": [(urllib3.HTTPConnectionPool, "urlopen")],
    "aiohttp": [(aiohttp.ClientRequest, "send")],
}


def methods_of(library: str) -> list[Any]:
    """Return the current values of these methods."""
    return [vars(owner)[name] for owner, name in METHODS[library]]


class Call(NamedTuple):
    """One request to make; redirects are followed."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    body: Sequence[bytes] | None = None


Send = Callable[[Call], Any]


@contextmanager
def by_requests(proxy: str | None) -> Iterator[Send]:
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": proxy, "https": proxy} if proxy else {}
        yield lambda call: session.request(
            call.method, call.url, headers=call.headers, data=call.body and iter(call.body)
        )


@contextmanager
def by_urllib3(proxy: str | None) -> Iterator[Send]:
    options: Any = {"retries": urllib3.Retry(3, connect=0, read=0, other=0)}
    with urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options) as pools:
        yield lambda call: pools.request(
            call.method, call.url, headers=call.headers, body=call.body and iter(call.body)
        )


@contextmanager
def by_httpx(proxy: str | None) -> Iterator[Send]:
    transport = httpx.HTTPTransport(proxy=httpx.Proxy(proxy)) if proxy else None
    with httpx.Client(trust_env=False, follow_redirects=True, transport=transport) as client:
        yield lambda call: client.request(
            call.method, call.url, headers=call.headers, content=call.body and iter(call.body)
        )


async def _parts(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in body:
        yield part


@asynccontextmanager
async def by_async_httpx(proxy: str | None) -> AsyncIterator[Send]:
    transport = httpx.AsyncHTTPTransport(proxy=httpx.Proxy(proxy)) if proxy else None
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True, transport=transport) as client:
        yield lambda call: client.request(
            call.method, call.url, headers=call.headers, content=call.body and _parts(call.body)
        )


@asynccontextmanager
async def by_aiohttp(proxy: str | None) -> AsyncIterator[Send]:
    async with aiohttp.ClientSession() as session:

        async def send(call: Call) -> None:
            async with session.request(
                call.method, call.url, headers=call.headers, data=call.body and _parts(call.body), proxy=proxy
            ) as response:
                await response.read()

        yield send


class Client(NamedTuple):
    """One way to use a library."""

    library: str
    open: Callable[[str | None], AbstractContextManager[Send]]

    def send(self, *calls: Call | str, proxy: str | None = None) -> None:
        """Make these requests, one after the other, with one session."""
        with self.open(proxy) as send:
            for call in calls:
                send(Call(call) if isinstance(call, str) else call)


class AsyncClient(NamedTuple):
    """One way to use a library from a coroutine."""

    library: str
    open: Callable[[str | None], AbstractAsyncContextManager[Send]]

    def send(self, *calls: Call | str, proxy: str | None = None) -> None:
        """Make these requests, one after the other, with one session on one loop."""

        async def main() -> None:
            async with self.open(proxy) as send:
                for call in calls:
                    await send(Call(call) if isinstance(call, str) else call)

        asyncio.run(main())


SYNC = {
    "requests": Client("requests", by_requests),
    "urllib3": Client("urllib3", by_urllib3),
    "httpx": Client("httpx", by_httpx),
}
ASYNC = {"httpx-async": AsyncClient("httpx", by_async_httpx), "aiohttp": AsyncClient("aiohttp", by_aiohttp)}
CLIENTS: dict[str, Client | AsyncClient] = {**SYNC, **ASYNC}
