"""A service acknowledges the test in a request, and the client counts the hosts that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from livecheck_celery.context import under_test
from livecheck_celery.models import HEADER_ACCEPTED
from livecheck_celery.propagation import asgi, wsgi
from livecheck_celery.propagation.clients.requests import carry
from livecheck_celery.propagation.gate import Gate
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_clients import CLIENTS, Client
from tests.helpers.http_server import KEY
from tests.helpers.scripted_http import Answer, Handler, running, status
from tests.helpers.signing import sign

TEST = make_test("order-1")
SIGNED = sign(TEST.as_headers(), (KEY,))

Instrument = Callable[[str, Gate], Callable[[], None]]
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())


def accepted(handler: Handler) -> None:
    handler.reply(200, b"fine", LiveCheck_Accepted="1")


def send(client: Client, answer: Answer) -> str:
    """Send a request under the test; return the host and the port of the server."""
    with running(answer) as server, under_test(TEST):
        client.send(server.url)
    return urlsplit(server.url).netloc


@pytest.mark.promise("`livecheck doctor` names a hop that loses a test.", theme="propagation")
@every_client
@pytest.mark.parametrize(
    ("answer", "counted"),
    [(accepted, False), (status(200), True), (status(404), True), (status(500), False), (status(503), False)],
    ids=["accepted", "200", "404", "500", "503"],
)
def test_answer_without_the_acknowledgement_is_counted(
    client: Client, instrument: Instrument, answer: Answer, counted: bool
) -> None:
    unacknowledged: list[str] = []
    gate = make_gate(KEY, hosts=["127.0.0.1"], unacknowledged=unacknowledged)
    instrument(client.library, gate)
    authority = send(client, answer)
    assert unacknowledged == [authority] * counted, "two services of a host differ by their ports"


def test_answer_is_counted_once_by_clients_above_each_other(instrument: Instrument) -> None:
    unacknowledged: list[str] = []
    gate = make_gate(KEY, hosts=["127.0.0.1"], unacknowledged=unacknowledged)
    instrument("requests", gate)
    instrument("urllib3", gate)
    with running(status(200)) as server, under_test(TEST):
        carry(requests.Session(), gate).get(server.url, timeout=10)
    assert len(unacknowledged) == 1


@pytest.mark.parametrize("number", [101, 301, 304, 500, 599])
def test_answer_that_no_application_acknowledges_is_not_counted(number: int) -> None:
    unacknowledged: list[str] = []
    gate = make_gate(KEY, unacknowledged=unacknowledged)
    gate.answered("stock:8000", number, {})
    assert unacknowledged == []
    gate.answered("Stock:8000", 404, {})
    assert unacknowledged == ["stock:8000"]


@every_client
def test_answer_to_a_request_without_a_test_is_not_counted(client: Client, instrument: Instrument) -> None:
    unacknowledged: list[str] = []
    instrument(client.library, make_gate(KEY, hosts=["other.example"], unacknowledged=unacknowledged))
    with running(status(200)) as server:
        client.send(server.url)
        with under_test(TEST):
            client.send(server.url)
    assert unacknowledged == []


@every_client
def test_failure_to_count_never_fails_the_request(client: Client, instrument: Instrument) -> None:
    def fail(what: str, host: str) -> None:
        raise OSError(what, host)

    gate = make_gate(KEY, hosts=["127.0.0.1"])
    gate._count_hop = fail
    instrument(client.library, gate)
    send(client, status(200))


@pytest.mark.parametrize(
    ("headers", "key", "acknowledged"),
    [(SIGNED, KEY, True), ({}, KEY, False), (SIGNED, "another", False), (TEST.as_headers(), KEY, False)],
    ids=["signed", "no test", "another key", "unsigned"],
)
@pytest.mark.parametrize("serve", ["wsgi", "asgi"])
def test_only_an_accepted_test_is_acknowledged(
    headers: dict[str, str], key: str, acknowledged: bool, serve: str
) -> None:
    given = SERVE[serve](headers, make_gate(key))
    assert given == [("content-type", "text/plain"), *[(HEADER_ACCEPTED.lower(), "1")] * acknowledged]


def serve_wsgi(headers: dict[str, str], gate: Gate) -> list[tuple[str, str]]:
    given: list[tuple[str, str]] = []
    own = [("Content-Type", "text/plain")]

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", own)
        return [b""]

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        given.extend((name.lower(), value) for name, value in headers)

    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    wsgi.LiveCheckMiddleware(app, gate)(environ, start_response)
    assert own == [("Content-Type", "text/plain")], "the application may use its list again"
    return given


def serve_asgi(headers: dict[str, str], gate: Gate) -> list[tuple[str, str]]:
    given: list[tuple[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        given.extend((name.decode(), value.decode()) for name, value in message.get("headers", ()))

    async def receive() -> Any:
        return {"type": "http.request"}

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(asgi.LiveCheckMiddleware(app, gate)({"type": "http", "path": "/", "headers": raw}, receive, send))
    return given


SERVE = {"wsgi": serve_wsgi, "asgi": serve_asgi}
