"""Django: ``MIDDLEWARE = ["livecheck_celery.integrations.django.LiveCheckMiddleware", ...]``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from celery.app import app_or_default
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from livecheck_celery.config import Settings
from livecheck_celery.default_app import default_app
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.livecheck import LiveCheck, livechecks_of
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.request import Handling
from livecheck_celery.propagation.wsgi import headers_in
from livecheck_celery.utils.lazy import lazy
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)


class LiveCheckMiddleware:
    """Make the test that a request carries current in the views and the middleware below, streamed bodies included.

    Works under WSGI and ASGI, with sync and async views, without a hop to another thread. What the headers are worth,
    and who hears of the answer, is up to `serving`.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """The response to ``request``; errors are the application's own."""
        if self._is_async:
            return self._answer(request)
        handling = self._handling(request)
        if handling is None:
            return self._get_response(request)
        with handling:
            response = self._get_response(request)
        return _watched(response, handling)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        handling = self._handling(request)
        if handling is None:
            return await self._get_response(request)
        with handling:
            response = await self._get_response(request)
        return _watched(response, handling)

    def _handling(self, request: HttpRequest) -> Handling | None:
        gate = self._gate
        return None if gate is None else Handling(gate, headers_in(request.META), request.method or "", request.path)

    @lazy
    def _gate(self) -> Gate | None:
        try:
            return serving().gate
        except ConfigurationError as exc:
            logger.error("%s; requests are handled as if they carried no tests", exc)  # noqa: TRY400 - words say it all
            return None


def serving() -> LiveCheck:
    """The LiveCheck that this process's requests belong to.

    That is the first one made on Celery's current app, or else on LiveCheck's own. When there is none, one is made on
    Celery's current app, with those of Django's settings that are called ``LIVECHECK_`` and the name of a setting.

    Raises:
        ConfigurationError: the cases, or a setting, are wrong.
    """
    _import_views()
    app = app_or_default()
    found = livechecks_of(app) or livechecks_of(default_app())
    if found:
        return found[0]
    names = {name: f"LIVECHECK_{name.upper()}" for name in Settings.model_fields}
    return LiveCheck(app, **{name: getattr(settings, ours) for name, ours in names.items() if hasattr(settings, ours)})


def _import_views() -> None:
    # Django imports them when the first request gets to them. They import the cases, and cases are declared on the
    # LiveCheck that is looked for.
    try:
        _ = get_resolver().url_patterns
    except Exception:  # whatever is wrong with them, Django says when it gets there
        logger.debug("the views cannot be imported", exc_info=True)


def _watched(response: Any, handling: Handling) -> Any:
    """``response``, of which ``handling`` hears when it has been sent."""
    if not response.streaming or getattr(response, "file_to_stream", None) is not None:
        handling.answered(response.status_code)
    else:
        parts = _AsyncParts if response.is_async else _Parts
        response.streaming_content = parts(response, handling)
    return response


class _Streamed:
    """The content of a streaming response, made as part of its request."""

    def __init__(self, response: Any, handling: Handling) -> None:
        self._response = response
        self._parts = response.streaming_content
        self._handling = handling

    def close(self) -> None:
        """Django calls this when the response has been sent, or the client is gone."""
        self._handling.answered(self._response.status_code)


class _Parts(_Streamed):
    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._handling, suppress(StopIteration):
            part: bytes = next(self._parts)
            return part
        raise StopIteration


class _AsyncParts(_Streamed):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._handling, suppress(StopAsyncIteration):
            part: bytes = await anext(self._parts)
            return part
        raise StopAsyncIteration
