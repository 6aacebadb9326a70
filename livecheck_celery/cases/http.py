"""Make one HTTP request of a case: bounded in time and size, retried where that is safe."""

from __future__ import annotations

from concurrent import futures
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from http.client import HTTPException, RemoteDisconnected
from threading import Event, Thread
from typing import Any, Final

import requests
import urllib3
from requests.exceptions import InvalidJSONError, InvalidSchema, InvalidURL, MissingSchema
from tenacity import Retrying

from livecheck_celery.cases.http_attempts import (
    MAX_BODY,
    Failed,
    check_size,
    check_status,
    connect_limit,
    explain,
    fault_of_host,
    is_retryable,
    not_connected,
    retries,
    root_of,
    sent_once,
    service_down,
    timed_out,
)
from livecheck_celery.cases.http_body import PARTS, Body
from livecheck_celery.cases.redirects import Redirect, refusal
from livecheck_celery.config import UrlSettings
from livecheck_celery.utils.compat import shut_down

_CHUNK: Final = 64 * 1024


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
    if fault := fault_of_host(url):
        raise InvalidURL(fault)
    parts = {name: kwargs.pop(name) for name in PARTS if name in kwargs}
    headers = kwargs.pop("headers", None)
    body = Body(method, url, headers, parts)
    retrying = Retrying(**retries(settings, lambda: body.is_repeatable))
    try:
        return retrying(
            lambda: _Attempt(method, settings, session, max_body, {**kwargs, **body.arguments(headers)}, body).make()
        )
    except Failed as exc:
        attempts = retrying.statistics["attempt_number"]
        raise service_down(method, url, exc, attempts, is_repeatable=body.is_repeatable) from exc.__cause__


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
            retryable = not self.body.is_stream and is_retryable(self.method, answered=bool(self.began))
            raise Failed(timed_out(self.settings), retryable=retryable)
        try:
            return body.result()
        except requests.RequestException as exc:
            if not self.began and _is_invalid_request(exc):
                raise
            root = root_of(exc)
            answered = bool(self.began) or _is_invalid_response(root)
            retryable = is_retryable(self.method, answered=answered)
            raise Failed(_explain(exc, root, self.settings), retryable=retryable) from exc

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
        try:
            self._check_repetition(response)
        except Failed:
            response.close()
            raise

    def _check_repetition(self, response: requests.Response) -> None:
        if response.history and not self.body.is_repeatable:  # HTTPDigestAuth has sent an empty body
            raise sent_once(response.history[0].status_code)
        if not response.is_redirect or not self.kwargs.get("allow_redirects", True):
            return
        request, location = response.request, response.headers["location"]
        redirect = Redirect(
            request.method or "", response.url, response.status_code, location, has_body=bool(request.body)
        )
        if reason := refusal(redirect, is_repeatable=self.body.is_repeatable, option="allow_redirects=False"):
            raise Failed(reason, retryable=False)

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
        timeout = (connect_limit(self.settings), self.settings.timeout_total)
        with self.session.request(self.method, timeout=timeout, stream=True, **kwargs) as response:
            check_status(self.method, response.status_code, response.reason)
            body = bytearray()
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                check_size(body, self.max_body)
            return bytes(body)


def _is_invalid_request(error: requests.RequestException) -> bool:
    return isinstance(error, MissingSchema | InvalidSchema | InvalidURL | InvalidJSONError)


def _is_invalid_response(root: BaseException) -> bool:
    if isinstance(root, RemoteDisconnected):  # an HTTPException, but there was no response
        return False
    return isinstance(root, HTTPException | urllib3.exceptions.InvalidHeader)


def _explain(error: BaseException, root: BaseException, settings: UrlSettings) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return not_connected(settings)
    if isinstance(root, TimeoutError) and root.errno is None:
        # The socket's timeout can expire just before the caller's.
        return timed_out(settings)
    return explain(root)
