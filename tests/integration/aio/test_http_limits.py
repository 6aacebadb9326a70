"""An HTTP request of the asyncio face is bounded in time and in size, and ends when it is cancelled."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.aio_http import failure, fetch, fetching
from tests.helpers.http_tables import BIG, BIG_ANSWERS, DRIPS, HURRIED, endless, slow_redirect
from tests.helpers.scripted_http import QUICK, Answer, ok, running
from tests.helpers.waiting import wait_until

#: Seconds.
WELL_BEFORE_THE_SERVER_STOPS = 5.0


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Make the first request of the process, in which modules and certificates are loaded."""
    with running(ok()) as server:
        fetch("GET", server.url)


@pytest.mark.parametrize(("prelude", "byte"), DRIPS.values(), ids=DRIPS.keys())
def test_total_timeout_bounds_a_dripping_response(prelude: bytes, byte: bytes) -> None:
    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        started = time.monotonic()
        message = failure("GET", server.url, HURRIED)
        assert 2 * 0.4 <= time.monotonic() - started < WELL_BEFORE_THE_SERVER_STOPS
        assert len(server.hits) == 2
        assert message == f"GET {server.url}: no complete answer within 0.4 s (2 attempts)"


@pytest.mark.parametrize("kind", ["body", "chunks", "endless body", "header"])
def test_post_is_not_retried_after_a_part_of_a_response(kind: str) -> None:
    prelude, byte = DRIPS[kind]
    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        failure("POST", server.url, HURRIED)
        assert len(server.hits) == 1


def test_post_is_retried_after_silence() -> None:
    with running(lambda handler: handler.drip(prelude=b"", byte=b"")) as server:
        failure("POST", server.url, HURRIED)
        assert len(server.hits) == 2


def test_total_timeout_includes_redirects() -> None:
    with running(slow_redirect) as server:
        once = replace(HURRIED, error_retries=0)
        assert "no complete answer within 0.4 s" in failure("GET", server.url, once)
        assert 2 <= len(server.hits) <= 3


def test_total_timeout_includes_the_name_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(*_: object, **__: object) -> Any:
        await asyncio.sleep(30)

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", stuck)
    message = failure("GET", "http://shop.example/", HURRIED)
    assert "no complete answer within 0.4 s (2 attempts)" in message


def test_connect_timeout_bounds_only_connecting() -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket())
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for _ in range(3):  # fills the backlog, since no connection is accepted
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        url = f"http://127.0.0.1:{busy.getsockname()[1]}/"
        impatient = replace(QUICK, timeout_connect=0.2, error_retries=1)
        assert failure("POST", url, impatient) == f"POST {url}: no connection within 0.2 s (2 attempts)"
    with running(slow_redirect) as server:
        fetch("GET", server.url, replace(QUICK, timeout_connect=0.05), follow_redirects=False)


@pytest.mark.parametrize("answer", BIG_ANSWERS.values(), ids=BIG_ANSWERS.keys())
def test_body_over_the_limit_is_an_error_without_retry(answer: Answer) -> None:
    with running(answer) as server:
        assert "over the limit of 1000 bytes (1 attempt)" in failure("GET", server.url, max_body=1000)
        assert len(server.hits) == 1
        assert fetch("GET", server.url, max_body=1001) == BIG


def test_endless_body_is_dropped_at_the_limit() -> None:
    with running(endless) as server:
        assert "over the limit of 10485760 bytes" in failure("GET", server.url)
        assert len(server.hits) == 1


def endless_redirect(handler: Any) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/again")
    handler.end_headers()
    while not handler.server.stopping.is_set():
        handler.wfile.write(b"x" * 65536)


def test_body_of_a_redirect_is_not_read() -> None:
    with running(endless_redirect, lambda handler: handler.reply(200, b"fine")) as server:
        assert fetch("GET", server.url) == b"fine"


def test_request_that_is_cancelled_closes_its_connection() -> None:
    closed = []

    def silent(handler: Any) -> None:
        closed.append(handler.connection.recv(1))

    async def main() -> None:
        running_fetch = asyncio.create_task(fetching("GET", server.url))
        await asyncio.to_thread(wait_until, lambda: server.hits)
        running_fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running_fetch
        await asyncio.to_thread(wait_until, lambda: closed == [b""])

    with running(silent) as server:
        asyncio.run(main())


def test_event_loop_is_free_while_a_request_waits() -> None:
    prelude, byte = DRIPS["silence"]

    async def main() -> None:
        fetches = [asyncio.create_task(fetching("GET", server.url, HURRIED)) for _ in range(20)]
        results = await asyncio.gather(*fetches, return_exceptions=True)
        assert ["within 0.4 s (2 attempts)" in str(result) for result in results] == [True] * 20

    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        started = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - started < WELL_BEFORE_THE_SERVER_STOPS
