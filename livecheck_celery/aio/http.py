"""Make one HTTP request of a case of the asyncio face; the rules are those of `livecheck_celery.cases.http`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx
from tenacity import AsyncRetrying

from livecheck_celery.aio.http_body import Body
from livecheck_celery.aio.http_client import SESSION, client
from livecheck_celery.cases.http_attempts import (
    MAX_BODY,
    Failed,
    check_size,
    check_status,
    explain,
    fault_of_host,
    is_retryable,
    not_connected,
    retries,
    root_of,
    service_down,
    timed_out,
)
from livecheck_celery.cases.redirects import MAX_REDIRECTS, Redirect, refusal
from livecheck_celery.cases.session import remove_secrets
from livecheck_celery.config import UrlSettings

__all__ = ["client", "fetch"]

#: Headers that httpx has made for the target of a redirect.
_OF_NEW_HOST: Final = frozenset({"cookie"})
#: In the words of http.client.
_HUNG_UP: Final = "Remote end closed connection without response"
_fetching: ContextVar[bool] = ContextVar("livecheck_fetching", default=False)


async def fetch(
    method: str,
    url: httpx.URL | str,
    *,
    settings: UrlSettings,
    client: httpx.AsyncClient,
    max_body: int = MAX_BODY,
    auth: Any = None,
    follow_redirects: bool = True,
    **kwargs: Any,
) -> bytes:
    """Make a request with a ``client`` of its own, and return the body of the response.

    Retries and redirects are those of `livecheck_celery.cases.http.fetch`. ``kwargs`` are those of
    `httpx.AsyncClient.request`, without ``timeout``. A body can also be a generator or a file that is not asynchronous;
    it is read in another thread.

    Raises:
        ServiceDown: all attempts failed; the message has their number, and the reason of the last failure.
        httpx.InvalidURL: the URL is invalid.
        httpx.UnsupportedProtocol: the URL has another scheme than http and https, or none.
        httpx.LocalProtocolError: a header is invalid.
    """
    method = method.upper()
    if fault := fault_of_host(url):
        raise httpx.InvalidURL(fault)
    timeout = httpx.Timeout(None, connect=settings.timeout_connect)
    body = await Body.make(client, method, url, timeout=timeout, **kwargs)
    arrivals = _Arrivals()
    retrying = AsyncRetrying(sleep=asyncio.sleep, **retries(settings, lambda: body.is_repeatable))

    async def attempt() -> bytes:
        return await _Attempt(method, settings, client, max_body, auth, follow_redirects, body, arrivals).make()

    token = _fetching.set(True)
    try:
        return await retrying(attempt)
    except Failed as exc:
        attempts = retrying.statistics["attempt_number"]
        raise service_down(method, str(url), exc, attempts, is_repeatable=body.is_repeatable) from exc.__cause__
    finally:
        _fetching.reset(token)


def _is_of_others(_: logging.LogRecord) -> bool:
    return not _fetching.get()


logging.getLogger("httpx").addFilter(_is_of_others)  # its lines have the whole URL, with passwords


class _Arrivals:
    """Notes whether bytes of a response have arrived; httpx reports a part of its head as no response."""

    def __init__(self) -> None:
        self.any = False

    async def trace(self, _: str, info: Mapping[str, Any]) -> None:
        """Watch a connection that httpcore has made, also through one to a proxy."""
        stream = info.get("return_value")
        if not isinstance(stream, httpcore.AsyncNetworkStream):
            return
        self.any = False
        read = stream.read

        async def read_and_note(*args: Any, **kwargs: Any) -> bytes:
            data = await read(*args, **kwargs)
            self.any = self.any or bool(data)
            return data

        stream.read = read_and_note  # type: ignore[method-assign] # httpx passes no network backend on


@dataclass
class _Attempt:
    """One attempt."""

    method: str
    settings: UrlSettings
    client: httpx.AsyncClient
    max_body: int
    auth: Any
    follow_redirects: bool
    body: Body
    arrivals: _Arrivals
    status: int | None = None

    async def make(self) -> bytes:
        self.client.event_hooks = {"response": [self._on_response]}
        self.arrivals.any = False
        try:
            async with asyncio.timeout(self.settings.timeout_total) as limit:
                return await self._read()
        except TimeoutError:
            if not limit.expired():
                raise
            # A thread can still be reading the body.
            retryable = not self.body.is_stream and self._is_retryable()
            raise Failed(timed_out(self.settings), retryable=retryable) from None
        except httpx.RequestError as exc:
            if self.status is None and isinstance(exc, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
                raise
            raise Failed(self._explain(exc), retryable=self._is_retryable()) from exc

    def _is_answered(self) -> bool:
        return self.status is not None or self.arrivals.any

    def _is_retryable(self) -> bool:
        return is_retryable(self.method, answered=self._is_answered())

    def _explain(self, error: httpx.RequestError) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return not_connected(self.settings)
        if isinstance(error, httpx.RemoteProtocolError) and not self._is_answered():
            return _HUNG_UP
        cause = error.__cause__ or error
        return explain(root_of(cause.__context__ or cause))  # httpcore hides the context

    async def _on_response(self, response: httpx.Response) -> None:
        self.status = response.status_code
        if not self.follow_redirects or not response.has_redirect_location:
            return
        request, location = response.request, response.headers["location"]
        redirect = Redirect(
            request.method, str(request.url), response.status_code, location, has_body=not self.body.is_empty
        )
        if reason := refusal(redirect, is_repeatable=self.body.is_repeatable, option="follow_redirects=False"):
            raise Failed(reason, retryable=False)
        if fault := fault_of_host(location):
            raise Failed(fault, retryable=self._is_retryable())

    async def _read(self) -> bytes:
        request, auth = self.body.request(lambda: self.status, trace=self.arrivals.trace), self.auth
        for _ in range(MAX_REDIRECTS + 1):
            response = await self.client.send(request, auth=auth, follow_redirects=False, stream=True)
            async with aclosing(response):
                if not self.follow_redirects or response.next_request is None:
                    return await self._read_body(response)
            request = response.next_request
            if SESSION.leaves(str(response.request.url), str(request.url)):
                remove_secrets(request.headers, keep=_OF_NEW_HOST)
                auth = None
        raise Failed(f"Exceeded {MAX_REDIRECTS} redirects.", retryable=self._is_retryable())

    async def _read_body(self, response: httpx.Response) -> bytes:
        check_status(self.method, response.status_code, response.reason_phrase)
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            check_size(body, self.max_body)
        return bytes(body)
