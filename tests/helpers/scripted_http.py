"""An HTTP server in a thread of the test process that gives scripted answers, and requests of a case to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from livecheck_celery.cases.http import fetch
from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import ServiceDown

#: Two retries, without delay.
QUICK = UrlSettings(
    timeout_total=10.0,
    timeout_connect=None,
    error_retries=2,
    error_delay_min=0.0,
    error_delay_backoff=1.0,
    error_delay_max=0.0,
)

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Records each request in ``server.hits``, ``bodies`` and ``headers``, and gives the next answer."""

    server: Server

    def handle_any(self) -> None:
        self.server.bodies.append(self._body())
        self.server.headers.append(self.headers)
        self.server.hits.append(f"{self.command} {self.path}")
        answers = self.server.answers
        answers[min(len(self.server.hits), len(answers)) - 1](self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, *, prelude: bytes, byte: bytes) -> None:
        """Send ``prelude``, and then ``byte`` again and again while the client listens."""
        self.wfile.write(prelude)
        while not self.server.stopping.wait(0.02):
            try:
                self.wfile.write(byte)
            except OSError:
                return


class Server(ThreadingHTTPServer):
    """Gives its answers in turn, and repeats the last one."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.hits: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[Message] = []
        self.stopping = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the client hung up


@contextmanager
def running(*answers: Answer) -> Iterator[Server]:
    """Run a server during the block."""
    server = Server(*answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def ok(body: bytes = b"fine") -> Answer:
    return lambda handler: handler.reply(200, body)


def status(code: int) -> Answer:
    return lambda handler: handler.reply(code)


def hang_up(handler: Handler) -> None:
    """Close the connection without a response."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def break_off(handler: Handler) -> None:
    """Send half of the announced body."""
    handler.reply(200, b"half", Content_Length="8")


def garble(handler: Handler) -> None:
    """Send something that is not HTTP."""
    handler.wfile.write(b"not HTTP at all\r\n\r\n")


def contradict_itself(handler: Handler) -> None:
    """Send two different lengths of the body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")


def redirect(location: str, status: int = 307) -> Answer:
    return lambda handler: handler.reply(status, Location=location)


def chunked(body: bytes) -> Answer:
    """Send ``body`` as one chunk."""

    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    return answer


def failure(method: str, url: str, session: requests.Session, settings: UrlSettings = QUICK, **kwargs: object) -> str:
    """Send a request that fails as `ServiceDown`, and return the message of the error."""
    with pytest.raises(ServiceDown) as failed:
        fetch(method, url, settings=settings, session=session, **kwargs)
    message = str(failed.value)
    assert "\n" not in message
    return message
