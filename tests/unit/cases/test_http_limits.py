"""An HTTP request of a case is bounded in time and in size."""

from __future__ import annotations

import socket
import threading
import time
from concurrent import futures
from contextlib import ExitStack
from dataclasses import replace

import pytest
import requests

from livecheck_celery.cases.http import fetch
from tests.helpers.http_tables import BIG, BIG_ANSWERS, DRIPS, HURRIED, endless, slow_redirect
from tests.helpers.scripted_http import QUICK, Answer, Handler, failure, running
from tests.helpers.waiting import wait_until

#: Seconds.
WELL_BEFORE_THE_SERVER_STOPS = 5.0


def no_request_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "livecheck-http"]


@pytest.mark.promise(
    "An HTTP attempt of a case is bounded in time, even if the response arrives byte by byte.", theme="cases"
)
@pytest.mark.parametrize(("prelude", "byte"), DRIPS.values(), ids=DRIPS.keys())
def test_total_timeout_bounds_a_dripping_response(session: requests.Session, prelude: bytes, byte: bytes) -> None:
    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        started = time.monotonic()
        message = failure("GET", server.url, session, HURRIED)
        assert 2 * 0.4 <= time.monotonic() - started < WELL_BEFORE_THE_SERVER_STOPS
        assert len(server.hits) == 2
        assert message == f"GET {server.url}: no complete answer within 0.4 s (2 attempts)"
    wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_STOPS)


@pytest.mark.parametrize("prelude", [DRIPS["silence"][0], DRIPS["body"][0]], ids=["nothing", "body"])
def test_socket_timeout_gives_the_message_of_the_total_timeout(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, prelude: bytes
) -> None:
    wait = futures.wait
    monkeypatch.setattr("livecheck_celery.cases.http.futures.wait", lambda waited, timeout: wait(waited, timeout + 30))
    with running(lambda handler: handler.drip(prelude=prelude, byte=b"")) as server:
        assert failure("GET", server.url, session, HURRIED) == (
            f"GET {server.url}: no complete answer within 0.4 s (2 attempts)"
        )


@pytest.mark.parametrize("kind", ["body", "chunks", "endless body"])
def test_request_thread_ends_with_the_attempt(session: requests.Session, kind: str) -> None:
    prelude, byte = DRIPS[kind]
    with running(lambda handler: handler.drip(prelude=prelude, byte=byte)) as server:
        failure("POST", server.url, session, HURRIED)
        assert len(server.hits) == 1  # a response began
        wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_STOPS)


def test_request_thread_ends_when_a_late_response_begins(session: requests.Session) -> None:
    timed_out = threading.Event()

    def late(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not timed_out.wait(0.02):
            handler.wfile.write(b"x")
        handler.drip(prelude=b"\r\n\r\n", byte=b"x")

    with running(late) as server:
        failure("GET", server.url, session, replace(HURRIED, error_retries=0))
        timed_out.set()
        wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_STOPS)


def test_total_timeout_includes_redirects(session: requests.Session) -> None:
    with running(slow_redirect) as server:
        assert "no complete answer within 0.4 s" in failure(
            "GET", server.url, session, replace(HURRIED, error_retries=0)
        )
        assert 2 <= len(server.hits) <= 3
    wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_STOPS)


def test_total_timeout_includes_the_name_lookup(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def stuck(*_: object, **__: object) -> list[object]:
        answered.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", stuck)
    message = failure("GET", "http://shop.example/", session, HURRIED)
    answered.set()
    assert "no complete answer within 0.4 s (2 attempts)" in message
    wait_until(no_request_threads, WELL_BEFORE_THE_SERVER_STOPS)


def test_connect_timeout_bounds_only_connecting(session: requests.Session) -> None:
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
        assert failure("POST", url, session, impatient) == f"POST {url}: no connection within 0.2 s (2 attempts)"


@pytest.mark.parametrize("answer", BIG_ANSWERS.values(), ids=BIG_ANSWERS.keys())
def test_body_over_the_limit_is_an_error_without_retry(session: requests.Session, answer: Answer) -> None:
    with running(answer) as server:
        assert "over the limit of 1000 bytes (1 attempt)" in failure("GET", server.url, session, max_body=1000)
        assert len(server.hits) == 1
        assert fetch("GET", server.url, settings=QUICK, session=session, max_body=1001) == BIG


@pytest.mark.promise("An HTTP response that a case reads is bounded in size.", theme="cases")
def test_endless_body_is_dropped_at_the_limit(session: requests.Session) -> None:
    with running(endless) as server:
        assert "over the limit of 10485760 bytes" in failure("GET", server.url, session)
        assert len(server.hits) == 1
