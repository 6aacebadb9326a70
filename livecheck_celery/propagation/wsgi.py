"""WSGI middleware, which serves each request as part of the test in its headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import IOBase
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from livecheck_celery.guard import guarded
from livecheck_celery.models import HEADER_ACCEPTED
from livecheck_celery.propagation.gate import KNOWN_HEADERS, Gate
from livecheck_celery.propagation.request import RequestScope, is_served, set_served

_ENVIRON: Final = tuple((f"HTTP_{name.upper().replace('-', '_')}", name) for name in KNOWN_HEADERS.values())


class LiveCheckMiddleware:
    """Make the test in a request's headers current while ``app`` serves the request, its response body included.

    Wraps any WSGI application. The outcome is reported to ``gate`` when the body is exhausted or closed; for a list, a
    tuple or a file, as soon as ``app`` returns it.
    """

    def __init__(self, app: WSGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request; errors of the application propagate unchanged."""
        if is_served(environ, self.gate):
            return self.app(environ, start_response)
        request = _Request(self.gate, environ, start_response)
        set_served(environ, self.gate)
        try:
            with request:
                body = self.app(environ, request.start_response)
        finally:
            set_served(environ, None)
        if type(body) in (list, tuple) or _is_file(body, environ):
            request.response_sent()
            # Returned as it is: servers derive the Content-Length from a list, and send a file without reading it.
            return body
        return _StreamedBody(body, request)


@guarded("wsgi: failed to read the headers of a request; it carries no test", ())
def known_headers(environ: WSGIEnvironment) -> list[tuple[str, Any]]:
    """Return the headers in ``environ`` that a `Gate` reads."""
    return [(name, environ[variable]) for variable, name in _ENVIRON if variable in environ]


@guarded("wsgi: failed to read the path of a request; continuing", "")
def _path(environ: WSGIEnvironment) -> str:
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    # WSGI passes the bytes of the path decoded as Latin-1.
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


@guarded("wsgi: failed to inspect a response; continuing", False)
def _is_file(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Return whether ``wsgi.file_wrapper`` made ``body``: an instance of the server's class, or the file itself."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, IOBase) or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _Request(RequestScope):
    """The scope of one WSGI request, with the status of its response."""

    def __init__(self, gate: Gate, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        super().__init__(gate, known_headers(environ), environ.get("REQUEST_METHOD", ""), _path(environ), environ)
        self._start_response = start_response
        self._status = ""

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Call the server's ``start_response``, and keep the status; acknowledge an accepted test."""
        self._status = status
        if self.accepted:
            headers = [*headers, (HEADER_ACCEPTED, "1")]
        if exc_info is None:
            return self._start_response(status, headers)
        return self._start_response(status, headers, exc_info)

    @guarded("wsgi: failed to finish a request; continuing", None)
    def response_sent(self) -> None:
        """Finish the request: its response has been sent, or handed to the server."""
        number = self._status[:3]
        self.finish(int(number) if number.isdecimal() else 0)
        self.close()


class _StreamedBody:
    """A response body that is iterated and closed inside the scope of its request."""

    __slots__ = ("_body", "_parts", "_request")

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
        self._body = body
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with self._request:
            self._request.linger()
            self._parts = iter(self._body)
        return self

    def __next__(self) -> bytes:
        with self._request, suppress(StopIteration):
            return next(self._parts)
        self._request.response_sent()
        raise StopIteration

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._request:
                close()
        self._request.response_sent()
