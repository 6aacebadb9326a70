"""HTTP servers in threads of the test process, which record the requests they receive."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.gate import KNOWN_HEADERS
from tests.helpers.signing import verify

#: The secret key that must have signed the tests a server receives.
KEY = "a secret key that only tests have"


class Received(NamedTuple):
    """One request; ``target`` is the second word of its first line, ``headers`` have their names in title case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def known_headers(self) -> dict[str, str]:
        """Return LiveCheck's headers and the baggage; fail if one was sent twice."""
        found = [(KNOWN_HEADERS[name.lower()], value) for name, value in self.headers if name.lower() in KNOWN_HEADERS]
        assert len(found) == len(dict(found)), f"sent twice: {found}"
        return dict(found)

    def test_id(self) -> str | None:
        """Return the id of the test in the headers, signed with `KEY`; None without any of LiveCheck's headers."""
        known = self.known_headers()
        test = TestExecution.from_headers(verify(known, (KEY,)) or {})
        assert test or not known
        return test and test.id


class Handler(BaseHTTPRequestHandler):
    """Records the request; redirects to the URL in the query. Accepts proxied requests, but opens no tunnels."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def do_GET(self) -> None:
        self.server.received.append(
            Received(self.command, self.path, [(n.title(), v) for n, v in self.headers.items()], self._body())
        )
        _, _, target = self.path.partition("?to=")
        status = 302 if target else 200
        self.send_response(405 if self.command == "CONNECT" else status)
        self.send_header("Content-Length", "0")
        if target:
            self.send_header("Location", target)
        self.end_headers()

    do_POST = do_CONNECT = do_GET  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128  # so that many simultaneous connections are accepted

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []
        self.connections: list[socket.socket] = []

    def url(self, host: str = "127.0.0.1", path: str = "/") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"

    def tests(self) -> list[str | None]:
        """Return the ids of the tests of all requests, in the order of their arrival."""
        return [received.test_id() for received in self.received]


#: The hosts of a request and of the redirects that follow it, and the test that each gets if 127.0.0.1 is listed.
REDIRECTS: list[tuple[list[str], list[str | None]]] = [
    (["127.0.0.1", "localhost"], ["order-1", None]),
    (["localhost", "127.0.0.1"], [None, "order-1"]),
    (["127.0.0.1", "127.0.0.1"], ["order-1", "order-1"]),
    (["127.0.0.1", "localhost", "127.0.0.1"], ["order-1", None, "order-1"]),
]


def redirecting(server: Server, route: list[str]) -> str:
    """Return the URL of a request that ``server`` redirects to itself, at each host of ``route``."""
    url = ""
    for host in reversed(route):
        url = server.url(host) + (f"?to={url}" if url else "")
    return url


@contextmanager
def running() -> Iterator[Server]:
    """Run a server; at the end, close the connections that clients keep open."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        for connection in server.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
        thread.join()
