"""What the HTTP requests of a case do, in tables that the tests of both faces share."""

from __future__ import annotations

import base64
import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, Final

from tests.helpers.scripted_http import (
    QUICK,
    Answer,
    Handler,
    break_off,
    chunked,
    contradict_itself,
    garble,
    ok,
    status,
)

LASTING_CLIENT_ERRORS: Final = [400, 401, 403, 404, 409, 410, 422]
TEMPORARY_CLIENT_ERRORS: Final = [408, 425, 429]

#: Responses that break after their first byte.
BROKEN: Final[list[Answer]] = [break_off, garble, contradict_itself]
#: After which a POST is not made again.
BEGAN: Final = [status(500), status(429), *BROKEN]

#: Redirects that would change the request.
CHANGING: Final = [
    ("POST", 301),
    ("POST", 302),
    ("POST", 303),
    ("PUT", 302),
    ("PUT", 303),
    ("DELETE", 303),
    ("PATCH", 302),
    ("PUT", 301),
]
#: Redirects that keep method and body.
KEEPING: Final = [("POST", 307), ("POST", 308), ("PUT", 307)]

#: A total timeout of 0.4 s, and one retry.
HURRIED: Final = replace(QUICK, timeout_total=0.4, error_retries=1)

#: What a server sends at first, and then again and again.
DRIPS: Final = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "endless body": (b"HTTP/1.0 200 OK\r\n\r\n", b"x"),
    "header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "silence": (b"", b""),
}

#: A body of 1001 bytes.
BIG: Final = b"x" * 1001
BIG_ANSWERS: Final[dict[str, Answer]] = {
    "of stated length": ok(BIG),
    "in chunks": chunked(BIG),
    "compressed": lambda handler: handler.reply(200, gzip.compress(BIG), Content_Encoding="gzip"),
}


def endless(handler: Handler) -> None:
    """Send a body without end."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.stopping.is_set():
        handler.wfile.write(b"x" * 65536)


def slow_redirect(handler: Handler) -> None:
    """Redirect after 0.15 s."""
    handler.server.stopping.wait(0.15)
    handler.reply(302, Location="/again")


def challenge(handler: Handler) -> None:
    """Ask for digest authentication."""
    handler.reply(401, WWW_Authenticate='Digest realm="r", nonce="n", qop="auth"')


CONTENT: Final = b"order " * 1000


class Again:
    """An iterable that gives the same chunks each time."""

    def __iter__(self) -> Iterator[bytes]:
        yield CONTENT


class Stream:
    """Each iterator over it reads on, as over the body of a response."""

    def __init__(self) -> None:
        self._file = io.BytesIO(CONTENT)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        yield self._file.read()


class NotRewound(io.BytesIO):
    """A file without positions."""

    def seek(self, *args: Any) -> int:
        raise OSError


def after_a_part(file: BinaryIO) -> BinaryIO:
    """Read the first 600 bytes of ``file``."""
    file.seek(600)
    return file


#: Bodies that can be sent again, from a file of `CONTENT`; and what is sent.
REPEATABLE: Final[dict[str, Callable[[BinaryIO], tuple[Any, bytes]]]] = {
    "bytes": lambda file: (CONTENT, CONTENT),
    "file": lambda file: (file, CONTENT),
    "rest of a file": lambda file: (after_a_part(file), CONTENT[600:]),
    "bytes in memory": lambda file: (io.BytesIO(CONTENT), CONTENT),
    "iterable": lambda file: (Again(), CONTENT),
}

#: Bodies that can be sent once, from a pipe with `CONTENT`.
UNREPEATABLE: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    "generator": lambda pipe: (chunk for chunk in [CONTENT]),
    "iterator": lambda pipe: iter([CONTENT]),
    "pipe": lambda pipe: pipe,
    "stream": lambda pipe: Stream(),
    "file that cannot be rewound": lambda pipe: NotRewound(CONTENT),
}


@contextmanager
def open_pipe() -> Iterator[BinaryIO]:
    """Return a pipe from which `CONTENT` can be read once."""
    reader, writer = os.pipe()
    os.write(writer, CONTENT)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        yield file


BEARER: Final = {"Authorization": "Bearer x"}


def basic(user: str, password: str) -> str:
    """Return the header of basic authentication."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


#: Arguments of a request, and the header that is sent.
CREDENTIALS: Final[list[tuple[dict[str, Any], str | None]]] = [
    ({"headers": BEARER}, "Bearer x"),
    ({"headers": {"authorization": "Bearer x"}}, "Bearer x"),
    ({"headers": {b"Authorization": b"Bearer x"}}, "Bearer x"),
    ({"auth": ("me", "secret")}, basic("me", "secret")),
    ({"auth": ("me", "secret"), "headers": BEARER}, basic("me", "secret")),
    ({}, None),
]

SECRETS: Final = {"X-Api-Key": "a", "x-auth-token": "b", "Cookie": "session=c"}

#: Variables of the environment that disable the verification of TLS in other programs.
AGAINST_TLS: Final = [
    *((name, value) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") for value in ("", "0", "false", "False")),
    ("PYTHONHTTPSVERIFY", "0"),
    ("SSL_CERT_FILE", ""),
    ("HTTPX_VERIFY", "0"),
]
