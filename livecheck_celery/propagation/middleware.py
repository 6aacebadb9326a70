"""The middleware of a LiveCheck, for each kind of application."""

from __future__ import annotations

from typing import Any

from livecheck_celery.propagation import asgi, wsgi


class Middlewares:
    """Wraps applications in middleware that makes the test in the headers of a request current.

    Attributes:
        gate: the `Gate` of the process.
    """

    gate: Any

    def wsgi(self, app: Any) -> Any:
        """Wrap ``app``, a WSGI application, in middleware that makes the test in the headers of a request current."""
        return wsgi.LiveCheckMiddleware(app, self.gate)

    def asgi(self, app: Any) -> Any:
        """Wrap ``app``, an ASGI application, as `wsgi` does.

        For FastAPI and Starlette: ``app.add_middleware(livecheck.asgi)``.
        """
        return asgi.LiveCheckMiddleware(app, self.gate)

    def init_flask(self, app: Any) -> None:
        """Wrap ``app``, a Flask application, in `wsgi`; a repeated call changes nothing."""
        if app.extensions.get("livecheck") is not self:
            app.extensions["livecheck"] = self
            app.wsgi_app = self.wsgi(app.wsgi_app)

    def init_aiohttp(self, app: Any) -> None:
        """Add middleware to ``app``, an `aiohttp.web.Application`, before it starts; a repeated call changes nothing.

        It is outside of all other middleware of ``app``.

        Raises:
            ConfigurationError: ``app`` is not an application of aiohttp, has started, or is part of another.
        """
        from livecheck_celery.propagation import aiohttp_server  # noqa: PLC0415 - an optional dependency

        aiohttp_server.install(app, self.gate)
