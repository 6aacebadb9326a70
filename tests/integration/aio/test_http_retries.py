"""HTTP requests of the asyncio face: results, retries and errors, against servers on this machine."""

from __future__ import annotations

import asyncio
import gzip
import logging
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.helpers.aio_http import failure, fetch
from tests.helpers.http_tables import BEGAN, BROKEN, LASTING_CLIENT_ERRORS, TEMPORARY_CLIENT_ERRORS
from tests.helpers.scripted_http import QUICK, Answer, Handler, hang_up, ok, redirect, running, status


def test_body_is_returned_decoded() -> None:
    with running(ok(b"\xff\x00body")) as server:
        assert fetch("get", server.url + "search", params={"q": "1"}) == b"\xff\x00body"
        assert server.hits == ["GET /search?q=1"]
    compressed = gzip.compress(b"hello" * 100)
    with running(lambda handler: handler.reply(200, compressed, Content_Encoding="gzip")) as server:
        assert fetch("GET", server.url) == b"hello" * 100


def test_request_works_without_time_limits() -> None:
    with running(ok()) as server:
        assert fetch("GET", server.url, replace(QUICK, timeout_total=None)) == b"fine"


def test_server_error_is_retried() -> None:
    with running(status(500), status(503), ok()) as server:
        assert fetch("GET", server.url) == b"fine"
        assert len(server.hits) == 3


def test_lasting_server_error_is_reported_after_all_retries() -> None:
    with running(status(500)) as server:
        assert failure("GET", server.url) == f"GET {server.url}: 500 Internal Server Error (3 attempts)"
        assert len(server.hits) == 3
        assert failure("GET", server.url, replace(QUICK, error_retries=0)).endswith("(1 attempt)")


@pytest.mark.parametrize("code", LASTING_CLIENT_ERRORS)
def test_client_error_is_not_retried(code: int) -> None:
    with running(status(code)) as server:
        assert str(code) in failure("GET", server.url)
        assert len(server.hits) == 1


@pytest.mark.parametrize("code", TEMPORARY_CLIENT_ERRORS)
def test_temporary_client_error_is_retried(code: int) -> None:
    with running(status(code), ok()) as server:
        assert fetch("GET", server.url) == b"fine"
        assert len(server.hits) == 2


def break_head_off(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Ord")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("answer", [*BEGAN, break_head_off])
def test_post_is_not_retried_once_a_response_began(method: str, answer: Answer) -> None:
    with running(answer) as server:
        assert failure(method, server.url).endswith("(1 attempt)")
        assert len(server.hits) == 1


def test_post_is_not_retried_when_its_redirect_target_refuses(dead_url: str) -> None:
    with running(redirect(dead_url)) as server:
        assert "Connection refused" in failure("POST", server.url, content=b"order")
        assert len(server.hits) == 1


def test_post_is_retried_when_no_response_began() -> None:
    with running(hang_up, ok()) as server:
        assert fetch("POST", server.url, json={"side": "sell"}) == b"fine"
        assert server.hits == ["POST /", "POST /"]
    with running(hang_up) as server:
        message = f"POST {server.url}: Remote end closed connection without response (3 attempts)"
        assert failure("POST", server.url) == message


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("answer", [*BROKEN, break_head_off])
def test_broken_response_to_an_idempotent_method_is_retried(answer: Answer, method: str) -> None:
    with running(answer, ok()) as server:
        assert fetch(method, server.url) == b"fine"
        assert len(server.hits) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_refused_connection_is_reported_in_plain_words(dead_url: str, host: str) -> None:
    url = dead_url.replace("127.0.0.1", host)
    assert failure("POST", url) == f"POST {url}: Connection refused (3 attempts)"


def test_neither_error_nor_log_has_secrets_of_the_url(dead_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), running(ok()) as server:
        message = failure("GET", dead_url.replace("//", "//me:hunter2@") + "path?token=hunter3")
        fetch("GET", server.url.replace("//", "//me:hunter2@") + "path?token=hunter3")
    assert "/path" in message
    assert "hunter" not in message + caplog.text


def test_requests_of_others_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "httpx"), running(ok()) as server:
        fetch("GET", server.url)
        httpx.get(server.url, trust_env=False)
    assert len(caplog.records) == 1


def test_retry_delays_grow_by_the_factor_up_to_the_maximum(dead_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay: float, *args: Any) -> None:
        delays.append(delay)
        await sleep(0)

    monkeypatch.setattr("livecheck_celery.aio.http.asyncio.sleep", noted)
    slow = replace(QUICK, error_retries=5, error_delay_min=0.5, error_delay_backoff=2.0, error_delay_max=3.0)
    failure("GET", dead_url, slow)
    assert [delay for delay in delays if delay] == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("url", "kwargs", "error"),
    [
        ("shop/orders", {}, httpx.UnsupportedProtocol),
        ("ftp://shop/", {}, httpx.UnsupportedProtocol),
        ("http://shop:port/", {}, httpx.InvalidURL),
        ("http://[::1/", {}, httpx.InvalidURL),
        ("http://shop:99999/", {}, httpx.InvalidURL),
        ("http://shop:-1/", {}, httpx.InvalidURL),
        (f"http://{'a' * 300}/", {}, httpx.InvalidURL),
        ("http://shop/", {"headers": {"X": "\u0660"}}, UnicodeEncodeError),
        ("http://shop/", {"json": object()}, TypeError),
        ("http://shop/", {"jason": {}}, TypeError),
        ("http://shop/", {"timeout": 5}, TypeError),
    ],
)
def test_invalid_request_is_an_error_of_the_caller(url: str, kwargs: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        fetch("GET", url, **kwargs)


def test_invalid_header_is_an_error_of_the_caller() -> None:
    with running(ok()) as server:
        with pytest.raises(httpx.LocalProtocolError):
            fetch("GET", server.url, headers={"X": "a\nb"})
        assert server.hits == []


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("ftp://elsewhere/", "unsupported protocol 'ftp://'"),
        ("http://[orders", "the URL is malformed"),
        ("http://orders:99999/", "the URL is malformed"),
        (f"http://{'a' * 300}/", "a host has at most 253"),
    ],
)
def test_redirect_to_an_invalid_url_is_an_error_of_the_service(target: str, reason: str) -> None:
    with running(redirect(target)) as server:
        message = failure("GET", server.url)
    assert reason in message
    assert message.endswith("(3 attempts)")


def test_errors_of_a_generator_are_those_of_the_caller() -> None:
    async def broken() -> Any:
        yield b"order"
        raise TimeoutError("of the caller")

    with running(ok()) as server, pytest.raises(TimeoutError, match="of the caller"):
        fetch("POST", server.url, content=broken())
