"""Django middleware, for ``MIDDLEWARE = ["livecheck_celery.integrations.django.LiveCheckMiddleware", ...]``."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from celery.app import app_or_default
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from livecheck_celery.base_livecheck import BaseLiveCheck, livechecks_of
from livecheck_celery.config import Settings
from livecheck_celery.default_app import default_app
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.guard import GUARD
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.models import HEADER_ACCEPTED
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.request import RequestScope
from livecheck_celery.propagation.wsgi import known_headers
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.throttle import EVERY

logger = get_logger(__name__)


class LiveCheckMiddleware:
    """Make the test in a request's headers current in the views and the middleware below, streamed bodies included.

    Works under WSGI and ASGI, with sync and async views, without switching threads. The LiveCheck that `find_livecheck`
    returns decides whether to trust the headers, and gets the outcome.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        self._gate: Gate | None = None
        self._lock = threading.RLock()
        self._look_at = 0.0  # time at which to look for a LiveCheck, again if its settings were wrong
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve ``request``; errors of the application propagate unchanged."""
        if self._is_async:
            return self._serve_async(request)
        scope = self._scope_of(request)
        if scope is None:
            return self._get_response(request)
        with scope:
            response = self._get_response(request)
        return _finish_when_sent(response, scope)

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        scope = self._scope_of(request)
        if scope is None:
            return await self._get_response(request)
        with scope:
            response = await self._get_response(request)
        return _finish_when_sent(response, scope)

    def _scope_of(self, request: HttpRequest) -> RequestScope | None:
        with GUARD("django", "django: failed to start a request; it carries no test"):
            gate = self._current_gate()
            if gate is not None:
                return RequestScope(gate, known_headers(request.META), request.method or "", request.path, request)
        return None

    def _current_gate(self) -> Gate | None:
        if self._gate is not None:
            return self._gate
        with self._lock:  # other requests wait for the first one to import the views
            if self._gate is None and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + EVERY
                self._gate = _find_gate()
            return self._gate


def _find_gate() -> Gate | None:
    guard = GUARD
    try:
        livecheck = find_livecheck()
        guard = livecheck.guard
        _ = livecheck.settings
    except LiveCheckError as exc:
        guard.failed(exc, "django", "django: requests carry no tests")
        return None
    return livecheck.gate


def find_livecheck() -> BaseLiveCheck:
    """Return the LiveCheck that serves the requests of this process.

    This is the first LiveCheck on Celery's current app, else the first one on LiveCheck's default app. If neither has
    one, creates a LiveCheck on Celery's current app, from the Django settings named ``LIVECHECK_<SETTING>``.

    Raises:
        ConfigurationError: a case declaration or a setting is wrong.
    """
    _import_views()
    app = app_or_default()
    found = livechecks_of(app) or livechecks_of(default_app())
    if found:
        return found[0]
    names = {name: f"LIVECHECK_{name.upper()}" for name in Settings.model_fields}
    return LiveCheck(app, **{name: getattr(settings, own) for name, own in names.items() if hasattr(settings, own)})


def _import_views() -> None:
    # Django imports the views at the first request, after the middleware ran. The views import the cases, which create
    # the LiveCheck to find.
    try:
        _ = get_resolver().url_patterns
    except Exception as exc:  # Django raises the same error itself, when it resolves the request
        reraise_from_handler(exc)
        logger.debug("django: failed to import the views", exc_info=True)


def _finish_when_sent(response: Any, scope: RequestScope) -> Any:
    """Return ``response``, changed to finish ``scope`` when it has been sent, and to acknowledge an accepted test."""
    with GUARD("django response", "django: failed to observe a response; continuing"):
        if scope.accepted:
            response[HEADER_ACCEPTED] = "1"
        if not response.streaming or getattr(response, "file_to_stream", None) is not None:
            scope.finish(response.status_code)
        else:
            with scope:
                scope.linger()
            content = _AsyncStreamedContent if response.is_async else _StreamedContent
            response.streaming_content = content(response, scope)
    return response


class _Content:
    """The content of a streaming response, iterated inside the scope of its request."""

    def __init__(self, response: Any, scope: RequestScope) -> None:
        self._response = response
        self._parts = response.streaming_content
        self._scope = scope

    def close(self) -> None:
        """Finish the request; Django calls this when the response has been sent, or the client has disconnected."""
        self._scope.finish(self._response.status_code)
        self._scope.close()


class _StreamedContent(_Content):
    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._scope, suppress(StopIteration):
            part: bytes = next(self._parts)
            return part
        raise StopIteration


class _AsyncStreamedContent(_Content):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._scope, suppress(StopAsyncIteration):
            part: bytes = await anext(self._parts)
            return part
        raise StopAsyncIteration
