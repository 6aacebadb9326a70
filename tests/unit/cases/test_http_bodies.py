"""A request is sent again with the same body, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import requests

from livecheck_celery.cases.http import fetch
from tests.helpers.http_tables import CONTENT, REPEATABLE, UNREPEATABLE, challenge, open_pipe
from tests.helpers.scripted_http import QUICK, Answer, failure, ok, redirect, running, status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "order"
    path.write_bytes(CONTENT)
    return path


ARGUMENTS: dict[str, Callable[[BinaryIO], tuple[dict[str, Any], bytes]]] = {
    "form": lambda file: ({"data": {"side": "buy"}}, b"side=buy"),
    "form with an iterator": lambda file: ({"data": {"side": iter(["buy", "sell"])}}, b"side=buy&side=sell"),
    "iterator of fields": lambda file: ({"data": [("side", "buy")]}, b"side=buy"),
    "json": lambda file: ({"json": {"side": "buy"}}, b'{"side": "buy"}'),
    "file of a form": lambda file: ({"files": {"order": ("order.txt", file)}, "data": {"side": "buy"}}, CONTENT),
}


def as_data(make: Callable[[BinaryIO], tuple[Any, bytes]], file: BinaryIO) -> tuple[dict[str, Any], bytes]:
    data, expected = make(file)
    return {"data": data}, expected


MAKERS = {**ARGUMENTS, **{name: partial(as_data, make) for name, make in REPEATABLE.items()}}


@pytest.mark.promise("A request of a case is sent again with its whole body, or not sent again.", theme="cases")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("answer", [status(503), redirect("/orders", 308)], ids=["503", "308"])
def test_retry_sends_the_whole_body(session: requests.Session, path: Path, make: Any, answer: Answer) -> None:
    with running(answer, ok()) as server, path.open("rb") as file:
        arguments, expected = make(file)
        assert fetch("PUT", server.url, settings=QUICK, session=session, **arguments) == b"fine"
        first, second = server.bodies
        assert first == second
        assert expected in first


@pytest.fixture
def pipe() -> Iterator[BinaryIO]:
    with open_pipe() as file:
        yield file


@pytest.mark.parametrize("make", UNREPEATABLE.values(), ids=UNREPEATABLE.keys())
def test_body_that_cannot_be_repeated_is_sent_once(session: requests.Session, pipe: BinaryIO, make: Any) -> None:
    with running(status(503), ok()) as server:
        message = failure("PUT", server.url, session, data=make(pipe))
        assert message.endswith(": 503 Service Unavailable (1 attempt, since its body cannot be sent again)")
        assert len(server.hits) == 1
    with running(ok()) as server:
        fetch("PUT", server.url, settings=QUICK, session=session, data=iter([CONTENT]))
        assert server.bodies == [CONTENT]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("code", [307, 308])
@pytest.mark.parametrize("make", UNREPEATABLE.values(), ids=UNREPEATABLE.keys())
def test_body_that_cannot_be_repeated_is_not_redirected(
    session: requests.Session, pipe: BinaryIO, make: Any, code: int, method: str
) -> None:
    with running(redirect("/orders", code), ok()) as server:
        message = failure(method, server.url, session, data=make(pipe))
        assert f"redirected ({code}) to {server.url}orders, but the body cannot be sent again; request that" in message
        assert server.bodies == [CONTENT]


@pytest.mark.parametrize("code", [301, 302, 303])
def test_body_of_get_does_not_get_lost_by_a_redirect(session: requests.Session, code: int) -> None:
    with running(redirect("/orders", code), ok()) as server:
        assert f"redirected ({code}) to " in failure("GET", server.url, session, json={"side": "buy"})
        assert len(server.hits) == 1


def test_parameters_of_an_iterator_are_sent_each_time(session: requests.Session) -> None:
    with running(status(503), ok()) as server:
        fetch("GET", server.url, settings=QUICK, session=session, params={"id": iter(["1", "2"])})
        assert server.hits == ["GET /?id=1&id=2"] * 2


def test_content_type_of_the_caller_is_kept(session: requests.Session) -> None:
    with running(ok()) as server:
        headers = {"content-type": "application/vnd.order"}
        fetch("POST", server.url, settings=QUICK, session=session, json={}, headers=headers)
        fetch("POST", server.url, settings=QUICK, session=session, json={})
        assert [each["Content-Type"] for each in server.headers] == ["application/vnd.order", "application/json"]


def test_digest_authentication_repeats_the_request(session: requests.Session) -> None:
    with running(challenge, ok()) as server:
        auth = requests.auth.HTTPDigestAuth("me", "secret")
        assert fetch("PUT", server.url, settings=QUICK, session=session, auth=auth, data=CONTENT) == b"fine"
        assert server.bodies == [CONTENT, CONTENT]


def test_digest_authentication_cannot_repeat_a_generator(session: requests.Session) -> None:
    with running(challenge, ok()) as server:
        auth = requests.auth.HTTPDigestAuth("me", "secret")
        message = failure("PUT", server.url, session, auth=auth, data=iter([CONTENT]))
        assert message == f"PUT {server.url}: the body cannot be sent again after 401 (1 attempt)"
