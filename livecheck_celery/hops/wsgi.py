"""WSGI middleware: a request that carries a test is handled as part of that test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from livecheck_celery.hops import carrier
from livecheck_celery.hops.gate import LOOKED_AT, Gate

_ENVIRON: Final = {f"HTTP_{name.upper().replace('-', '_')}": name for name in LOOKED_AT.values()}


class LiveCheckMiddleware:
    """Make the test that a request carries current while ``app`` handles it, its response body included.

    Works around any WSGI application, so also Flask's (``app.wsgi_app = LiveCheckMiddleware(app.wsgi_app, gate)``) and
    Django's. What the headers of a request are worth, ``gate`` says.
    """

    def __init__(self, app: WSGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request as WSGI says; errors are the application's own."""
        carried = self.gate.accept(
            (name, environ[variable]) for variable, name in _ENVIRON.items() if variable in environ
        )
        if carried == carrier.NOTHING:
            return self.app(environ, start_response)
        request = _Request(carried)
        with request:
            body = self.app(environ, start_response)
        # Servers take the length of a list for the Content-Length, and nothing runs while it is iterated.
        return body if type(body) in (list, tuple) else _Body(body, request)


class _Request:
    """What is in force in one request, put in place only while the application's own code runs.

    Between two parts of a body the thread belongs to the server, which may use it for another request. What the
    application itself changes half-way through its body is kept for the next part.
    """

    def __init__(self, carried: carrier.Carried) -> None:
        self._carried = carried

    def __enter__(self) -> None:
        self._tokens = carrier.enter(self._carried)

    def __exit__(self, *_: object) -> None:
        self._carried = carrier.current()
        carrier.leave(self._tokens)


class _Body:
    """A response body whose parts are made, and which is closed, as part of the request."""

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
        self._body = body
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with self._request:
            self._parts = iter(self._body)
        return self

    def __next__(self) -> bytes:
        with self._request:
            return next(self._parts)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._request:
                close()
