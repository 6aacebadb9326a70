"""Requests of the asyncio face are sent again, or redirected, with the same body, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from tests.helpers.aio_http import failure, fetch
from tests.helpers.http_tables import (
    BEARER,
    CHANGING,
    CONTENT,
    KEEPING,
    REPEATABLE,
    UNREPEATABLE,
    challenge,
    open_pipe,
)
from tests.helpers.scripted_http import QUICK, Answer, ok, redirect, running, status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "order"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def pipe() -> Iterator[BinaryIO]:
    with open_pipe() as file:
        yield file


class AgainAsync:
    """An asynchronous iterable that gives the same chunks each time."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CONTENT


async def generate() -> AsyncIterator[bytes]:
    yield CONTENT


def as_content(make: Any) -> Callable[[BinaryIO], tuple[dict[str, Any], bytes]]:
    def made(file: BinaryIO) -> tuple[dict[str, Any], bytes]:
        content, expected = make(file)
        return {"content": content}, expected

    return made


MAKERS: dict[str, Callable[[BinaryIO], tuple[dict[str, Any], bytes]]] = {
    **{name: as_content(make) for name, make in REPEATABLE.items()},
    "asynchronous iterable": lambda file: ({"content": AgainAsync()}, CONTENT),
    "form": lambda file: ({"data": {"side": "buy"}}, b"side=buy"),
    "json": lambda file: ({"json": {"side": "buy"}}, b'"buy"'),
    "file of a form": lambda file: ({"files": {"order": ("order.txt", file)}, "data": {"side": "buy"}}, CONTENT),
}
ONCE: dict[str, Callable[[BinaryIO], Any]] = {**UNREPEATABLE, "asynchronous generator": lambda pipe: generate()}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("answer", [status(503), redirect("/orders", 308)], ids=["503", "308"])
def test_retry_sends_the_whole_body(path: Path, make: Any, answer: Answer) -> None:
    with running(answer, ok()) as server, path.open("rb") as file:
        arguments, expected = make(file)
        assert fetch("PUT", server.url, **arguments) == b"fine"
        first, second = server.bodies
        assert first == second
        assert expected in first


@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE.keys())
def test_body_that_cannot_be_repeated_is_sent_once(pipe: BinaryIO, make: Any) -> None:
    with running(status(503), ok()) as server:
        message = failure("PUT", server.url, content=make(pipe))
        assert message.endswith(": 503 Service Unavailable (1 attempt, since its body cannot be sent again)")
        assert server.bodies == [CONTENT]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("code", [307, 308])
@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE.keys())
def test_body_that_cannot_be_repeated_is_not_redirected(pipe: BinaryIO, make: Any, code: int, method: str) -> None:
    with running(redirect("/orders", code), ok()) as server:
        message = failure(method, server.url, content=make(pipe))
        assert f"redirected ({code}) to {server.url}orders, but the body cannot be sent again; request that" in message
        assert server.bodies == [CONTENT]


@pytest.mark.parametrize("code", [301, 302, 303])
def test_body_of_get_does_not_get_lost_by_a_redirect(code: int) -> None:
    with running(redirect("/orders", code), ok()) as server:
        assert f"redirected ({code}) to " in failure("GET", server.url, json={"side": "buy"})
        assert len(server.hits) == 1


def test_digest_authentication_repeats_the_request() -> None:
    with running(challenge, ok()) as server:
        assert fetch("PUT", server.url, auth=httpx.DigestAuth("me", "secret"), content=CONTENT) == b"fine"
        assert server.bodies == [CONTENT, CONTENT]


@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE.keys())
def test_digest_authentication_cannot_repeat_a_stream(pipe: BinaryIO, make: Any) -> None:
    with running(challenge, ok()) as server:
        message = failure("PUT", server.url, auth=httpx.DigestAuth("me", "secret"), content=make(pipe))
        assert message == f"PUT {server.url}: the body cannot be sent again after 401 (1 attempt)"
        assert server.bodies == [CONTENT]


@pytest.mark.parametrize(("method", "status"), CHANGING)
def test_redirect_that_changes_the_method_is_an_error(method: str, status: int) -> None:
    with running(redirect("/orders/?token=hunter2", status), ok()) as server:
        message = failure(method, f"{server.url}orders", json={"side": "buy"})
        target = f"{server.url}orders/"
        assert message.startswith(f"{method} {server.url}orders: redirected ({status}) to {target}, which would be ")
        assert message.endswith("pass follow_redirects=False to accept the redirect as the answer (1 attempt)")
        assert server.hits == [f"{method} /orders"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_follow_redirects(method: str, status: int) -> None:
    with running(ok(b"" if method == "HEAD" else b"fine")) as target:
        elsewhere = target.url.replace("127.0.0.1", "localhost")
        with running(redirect(elsewhere, status)) as server:
            fetch(method, server.url)
        assert target.hits == [f"{method} /"]


@pytest.mark.parametrize(("method", "status"), KEEPING)
def test_redirect_within_the_host_that_keeps_the_method_is_followed(method: str, status: int) -> None:
    with running(redirect("/orders/", status), ok()) as server:
        assert fetch(method, f"{server.url}orders", content=b"order", headers=BEARER) == b"fine"
        assert server.hits == [f"{method} /orders", f"{method} /orders/"]
        assert server.bodies == [b"order", b"order"]


def test_redirect_of_a_body_to_another_host_is_an_error() -> None:
    with running(redirect("http://elsewhere.example/orders")) as server:
        message = failure("POST", server.url, content=b"order")
        assert "redirected (307) to http://elsewhere.example/orders, which is another host" in message


@pytest.mark.parametrize("status", [302, 307])
def test_redirect_to_what_is_not_a_url_is_an_error(status: int) -> None:
    with running(redirect("http://ann:hunter2@[orders/", status)) as server:
        message = failure("POST", server.url, content=b"order")
    assert message == f"POST {server.url}: redirected ({status}) to what is not a URL (1 attempt)"


def test_redirect_is_an_answer_if_the_caller_says_so() -> None:
    with running(redirect("/orders/", 302)) as server:
        fetch("POST", server.url, follow_redirects=False)
        assert server.hits == ["POST /"]


def test_redirects_without_end_are_an_error() -> None:
    with running(redirect("/again", 302)) as server:
        once = QUICK.__class__(**{**vars(QUICK), "error_retries": 0})
        assert failure("GET", server.url, once) == f"GET {server.url}: Exceeded 30 redirects. (1 attempt)"
        assert len(server.hits) == 31
