"""WSGI middleware: a request that carries a test is handled as part of that test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import IOBase
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from livecheck_celery.propagation.gate import LOOKED_AT, Gate
from livecheck_celery.propagation.request import Handling

_ENVIRON: Final = tuple((f"HTTP_{name.upper().replace('-', '_')}", name) for name in LOOKED_AT.values())


class LiveCheckMiddleware:
    """Make the test that a request carries current while ``app`` handles it, its response body included.

    Works around any WSGI application. What the headers of a request are worth, ``gate`` says; it is told of the answer
    when the body has been sent or closed, or as soon as it is there in full.
    """

    def __init__(self, app: WSGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request as WSGI says; errors are the application's own."""
        request = _Request(self.gate, environ, start_response)
        with request:
            body = self.app(environ, request.start_response)
        if type(body) in (list, tuple) or _is_file(body, environ):
            request.sent()
            # Servers take the length of a list for the Content-Length, and send a file without reading it.
            return body
        return _Body(body, request)


def headers_in(environ: WSGIEnvironment) -> list[tuple[str, Any]]:
    """The headers of LiveCheck's in ``environ``."""
    return [(name, environ[variable]) for variable, name in _ENVIRON if variable in environ]


def _path(environ: WSGIEnvironment) -> str:
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    # WSGI has the bytes of a path as Latin-1.
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


def _is_file(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether ``body`` is what ``wsgi.file_wrapper`` made: a thing of the server's, or the file itself."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, IOBase) or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _Request(Handling):
    """One request, and the status it is answered with."""

    __slots__ = ("_start_response", "_status")

    def __init__(self, gate: Gate, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        super().__init__(gate, headers_in(environ), environ.get("REQUEST_METHOD", ""), _path(environ))
        self._start_response = start_response
        self._status = ""

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """The server's, with a look at the status."""
        self._status = status
        if exc_info is None:
            return self._start_response(status, headers)
        return self._start_response(status, headers, exc_info)

    def sent(self) -> None:
        """The response has been sent, or is out of the application's hands."""
        number = self._status[:3]
        self.answered(int(number) if number.isdecimal() else 0)


class _Body:
    """A response body whose parts are made, and which is closed, as part of the request."""

    __slots__ = ("_body", "_parts", "_request")

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
        self._body = body
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with self._request:
            self._parts = iter(self._body)
        return self

    def __next__(self) -> bytes:
        with self._request, suppress(StopIteration):
            return next(self._parts)
        self._request.sent()
        raise StopIteration

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._request:
                close()
        self._request.sent()
