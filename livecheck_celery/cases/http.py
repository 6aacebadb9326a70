"""Make one HTTP request of a case: bounded in time and size, retried where that is safe."""

from __future__ import annotations

from concurrent import futures
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from http.client import HTTPException, RemoteDisconnected
from threading import Event, Thread
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.exceptions import InvalidJSONError, InvalidSchema, InvalidURL, MissingSchema
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from livecheck_celery.cases.http_body import PARTS, Body
from livecheck_celery.cases.redirects import refusal
from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import ServiceDown
from livecheck_celery.utils.compat import shut_down
from livecheck_celery.utils.hosts import LONGEST
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.secrets import printed_url

#: Size limit of a decoded response body, in bytes.
MAX_BODY: Final = 10 * 1024 * 1024

_CHUNK: Final = 64 * 1024
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_TRANSIENT_CLIENT_ERRORS: Final = frozenset({408, 425, 429})
_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500


class _Failed(Exception):
    """An attempt failed; the message is the reason."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.retryable = retryable


def fetch(
    method: str,
    url: str,
    *,
    settings: UrlSettings,
    session: requests.Session,
    max_body: int = MAX_BODY,
    **kwargs: Any,
) -> bytes:
    """Make a request, and return the body of the response.

    A failed attempt is retried as ``settings`` says, except after a 4xx response other than 408, 425 and 429, and after
    a body over ``max_body`` bytes. A request that is not idempotent, such as POST, is retried only if no response
    began; a request whose body is a generator is not retried. GET and HEAD without a body follow redirects; other
    requests only to the same host, and if method and body can be sent again. ``kwargs`` are those of
    `requests.request`, without ``timeout`` and ``stream``.

    Raises:
        ServiceDown: all attempts failed; the message has their number, and the reason of the last failure.
        requests.RequestException: the request is invalid, such as a URL without a scheme.
    """
    method = method.upper()
    _check_host(url)
    parts = {name: kwargs.pop(name) for name in PARTS if name in kwargs}
    headers = kwargs.pop("headers", None)
    body = Body(method, url, headers, parts)
    retrying = Retrying(
        stop=stop_after_attempt(settings.error_retries + 1),
        wait=wait_exponential(
            multiplier=settings.error_delay_min,
            exp_base=settings.error_delay_backoff,
            max=settings.error_delay_max,
        ),
        retry=retry_if_exception(lambda exc: isinstance(exc, _Failed) and exc.retryable and body.is_repeatable),
        reraise=True,
    )
    try:
        return retrying(
            lambda: _Attempt(method, settings, session, max_body, {**kwargs, **body.arguments(headers)}, body).make()
        )
    except _Failed as exc:
        attempts = retrying.statistics["attempt_number"]
        made = f"{attempts} attempt{'' if attempts == 1 else 's'}"
        if exc.retryable and not body.is_repeatable:
            made += ", since its body cannot be sent again"
        raise ServiceDown(f"{method} {printed_url(url)}: {exc} ({made})") from exc.__cause__


@dataclass
class _Attempt:
    """One attempt, in a separate thread.

    A socket timeout restarts with each byte, and a DNS lookup has no timeout. So the caller waits until the deadline,
    then shuts the connection down, which ends the thread.
    """

    method: str
    settings: UrlSettings
    session: requests.Session
    max_body: int
    kwargs: dict[str, Any]
    body: Body
    began: list[requests.Response] = field(default_factory=list)
    given_up: Event = field(default_factory=Event)

    def make(self) -> bytes:
        body: futures.Future[bytes] = futures.Future()
        run = copy_context().run
        Thread(target=run, args=(self._work, body), name="livecheck-http", daemon=True).start()
        try:
            futures.wait([body], self.settings.timeout_total)
        finally:
            if not body.done():
                self._give_up()
        if self.given_up.is_set():
            # The thread can still be reading the body.
            retryable = not self.body.is_stream and self._is_retryable(bool(self.began))
            raise _Failed(_timed_out(self.settings), retryable=retryable)
        try:
            return body.result()
        except requests.RequestException as exc:
            if not self.began and _is_invalid_request(exc):
                raise
            root = _root(exc)
            answered = bool(self.began) or _is_invalid_response(root)
            raise _Failed(_explain(exc, root, self.settings), retryable=self._is_retryable(answered)) from exc

    def _is_retryable(self, response_began: bool) -> bool:
        return self.method in _IDEMPOTENT or not response_began

    def _give_up(self) -> None:
        self.given_up.set()
        for response in self.began:
            # close() would not wake a thread that is reading.
            with suppress(AttributeError, ValueError, RuntimeError, OSError):
                shut_down(response.raw)

    def _on_response(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.began.append(response)
        response.raw.enforce_content_length = True  # the default from urllib3 2 on
        if self.given_up.is_set():
            response.close()
        if reason := self._refusal(response):
            response.close()
            raise _Failed(reason, retryable=False)

    def _refusal(self, response: requests.Response) -> str | None:
        if response.history and not self.body.is_repeatable:  # HTTPDigestAuth has sent an empty body
            return f"the body cannot be sent again after {response.history[0].status_code}"
        if not self.kwargs.get("allow_redirects", True):
            return None
        return refusal(response, is_repeatable=self.body.is_repeatable)

    def _work(self, body: futures.Future[bytes]) -> None:
        try:
            body.set_result(self._read())
        except BaseException as exc:  # noqa: BLE001 - re-raised by make()
            body.set_exception(exc)

    def _read(self) -> bytes:
        hooks = dict(self.kwargs.get("hooks") or self.session.hooks)
        others = hooks.get("response") or []
        hooks["response"] = [self._on_response, *([others] if callable(others) else others)]
        kwargs = {**self.kwargs, "hooks": hooks}
        timeout = (_connect_limit(self.settings), self.settings.timeout_total)
        with self.session.request(self.method, timeout=timeout, stream=True, **kwargs) as response:
            status = response.status_code
            if status >= _FIRST_ERROR:
                transient = status >= _FIRST_SERVER_ERROR or status in _TRANSIENT_CLIENT_ERRORS
                raise _Failed(
                    f"{status} {response.reason or ''}".rstrip(), retryable=transient and self._is_retryable(True)
                )
            body = bytearray()
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                if len(body) > self.max_body:
                    raise _Failed(f"the body is over the limit of {self.max_body} bytes", retryable=False)
            return bytes(body)


def _check_host(url: str) -> None:
    """Refuse a long host before requests encodes it, for which older versions of idna need minutes.

    Raises:
        InvalidURL: the host is too long, or malformed.
    """
    try:
        host = urlsplit(str(url)).netloc.rpartition("@")[2]
    except ValueError as exc:
        raise InvalidURL(f"the URL is malformed: {message_of(exc)}") from None
    if len(host) > LONGEST + len(":65535"):
        raise InvalidURL(f"the host of the URL has {len(host)} characters; a host has at most {LONGEST}")


def _connect_limit(settings: UrlSettings) -> float | None:
    limits = [limit for limit in (settings.timeout_connect, settings.timeout_total) if limit is not None]
    return min(limits, default=None)


def _is_invalid_request(error: requests.RequestException) -> bool:
    return isinstance(error, MissingSchema | InvalidSchema | InvalidURL | InvalidJSONError)


def _is_invalid_response(root: BaseException) -> bool:
    if isinstance(root, RemoteDisconnected):  # an HTTPException, but there was no response
        return False
    return isinstance(root, HTTPException | urllib3.exceptions.InvalidHeader)


def _root(error: BaseException) -> BaseException:
    while deeper := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = deeper
    return error


def _timed_out(settings: UrlSettings) -> str:
    return f"no complete answer within {settings.timeout_total:g} s"


def _explain(error: BaseException, root: BaseException, settings: UrlSettings) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {_connect_limit(settings):g} s"
    if isinstance(root, TimeoutError) and root.errno is None:
        # The socket's timeout can expire just before the caller's.
        return _timed_out(settings)
    return " ".join(str(getattr(root, "strerror", None) or message_of(root)).split()) or type(root).__name__
