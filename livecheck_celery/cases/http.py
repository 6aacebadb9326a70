"""One HTTP request that a case makes: bounded in time and size, and tried again where that is safe."""

from __future__ import annotations

from concurrent import futures
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from http.client import HTTPException, RemoteDisconnected
from threading import Event, Thread
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from requests.exceptions import InvalidHeader, InvalidJSONError, InvalidSchema, InvalidURL, MissingSchema
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from livecheck_celery.errors import ServiceDown

#: Bytes of a response body, decoded; more is an error.
MAX_BODY: Final = 10 * 1024 * 1024

_PIECE: Final = 64 * 1024
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_PASSING_CLIENT_ERRORS: Final = frozenset({408, 425, 429})
_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500


class HttpSettings(NamedTuple):
    """How long an attempt may take, and when to make another.

    Attributes:
        timeout_total: seconds for one whole attempt, from the name lookup to the last byte; None for no limit.
        timeout_connect: seconds for connecting; None for no other limit than ``timeout_total``.
        retries: attempts after the first.
        delay_min: seconds before the first of these.
        backoff: factor from each delay to the next.
        delay_max: seconds that no delay exceeds.
    """

    timeout_total: float | None
    timeout_connect: float | None
    retries: int
    delay_min: float
    backoff: float
    delay_max: float


class _Failed(Exception):
    """An attempt failed, for the reason its message gives."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def fetch(
    method: str,
    url: str,
    *,
    settings: HttpSettings,
    session: requests.Session,
    max_body: int = MAX_BODY,
    **kwargs: Any,
) -> bytes:
    """Body of the response to one request.

    An attempt that fails is repeated as ``settings`` say, but not when the answer is a 4xx other than 408, 425 and 429,
    or a body of more than ``max_body`` bytes. A request that may not be made twice, such as POST, is repeated only when
    no response began. ``kwargs`` are those of `requests.request`, without ``timeout`` and ``stream``.

    Raises:
        ServiceDown: no attempt succeeded; the message is one line with the last reason and the attempts made.
        requests.RequestException: the request itself is wrong, such as a URL without a scheme.
    """
    method = method.upper()
    retrying = Retrying(
        stop=stop_after_attempt(settings.retries + 1),
        wait=wait_exponential(multiplier=settings.delay_min, exp_base=settings.backoff, max=settings.delay_max),
        retry=retry_if_exception(lambda exc: isinstance(exc, _Failed) and exc.again),
        reraise=True,
    )
    try:
        return retrying(lambda: _Attempt(method, url, settings, session, max_body, kwargs).make())
    except _Failed as exc:
        attempts = retrying.statistics["attempt_number"]
        made = f"{attempts} attempt{'' if attempts == 1 else 's'}"
        raise ServiceDown(f"{method} {_without_secrets(url)}: {exc} ({made})") from exc.__cause__


@dataclass
class _Attempt:
    """One attempt, made on a thread of its own.

    Timeouts of sockets begin anew with each byte, and a name lookup has none. So the caller waits until the deadline
    and no longer, then cuts the connection, which ends the thread.
    """

    method: str
    url: str
    settings: HttpSettings
    session: requests.Session
    max_body: int
    kwargs: dict[str, Any]
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
            raise _Failed(_too_late(self.settings), again=self._may_repeat(bool(self.began)))
        try:
            return body.result()
        except requests.RequestException as exc:
            if not self.began and _is_callers_mistake(exc):
                raise
            root = _root(exc)
            answered = bool(self.began) or _is_garbled_answer(root)
            raise _Failed(_explain(exc, root, self.settings), again=self._may_repeat(answered)) from exc

    def _may_repeat(self, response_began: bool) -> bool:
        return self.method in _IDEMPOTENT or not response_began

    def _give_up(self) -> None:
        self.given_up.set()
        for response in self.began:
            # Closing would not wake a thread that is reading.
            with suppress(AttributeError, ValueError, RuntimeError, OSError):
                response.raw.shutdown()

    def _on_response(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.began.append(response)
        if self.given_up.is_set():
            response.close()

    def _work(self, body: futures.Future[bytes]) -> None:
        try:
            body.set_result(self._read())
        except BaseException as exc:  # noqa: BLE001 - raised again by make()
            body.set_exception(exc)

    def _read(self) -> bytes:
        hooks = dict(self.kwargs.get("hooks") or self.session.hooks)
        others = hooks.get("response") or []
        hooks["response"] = [self._on_response, *([others] if callable(others) else others)]
        kwargs = {**self.kwargs, "hooks": hooks}
        timeout = (_connect_limit(self.settings), self.settings.timeout_total)
        with self.session.request(self.method, self.url, timeout=timeout, stream=True, **kwargs) as response:
            status = response.status_code
            if status >= _FIRST_ERROR:
                passing = status >= _FIRST_SERVER_ERROR or status in _PASSING_CLIENT_ERRORS
                raise _Failed(f"{status} {response.reason or ''}".rstrip(), again=passing and self._may_repeat(True))
            body = bytearray()
            for piece in response.iter_content(_PIECE):
                body += piece
                if len(body) > self.max_body:
                    raise _Failed(f"the body is over the limit of {self.max_body} bytes", again=False)
            return bytes(body)


def _connect_limit(settings: HttpSettings) -> float | None:
    limits = [limit for limit in (settings.timeout_connect, settings.timeout_total) if limit is not None]
    return min(limits, default=None)


def _is_callers_mistake(error: requests.RequestException) -> bool:
    if isinstance(error, InvalidHeader):
        return error.request is None  # with a request, it is the response that has the invalid header
    return isinstance(error, MissingSchema | InvalidSchema | InvalidURL | InvalidJSONError)


def _is_garbled_answer(root: BaseException) -> bool:
    if isinstance(root, RemoteDisconnected):  # an HTTPException, but for no answer at all
        return False
    return isinstance(root, HTTPException | urllib3.exceptions.InvalidHeader)


def _root(error: BaseException) -> BaseException:
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return error


def _too_late(settings: HttpSettings) -> str:
    return f"no complete answer within {settings.timeout_total:g} s"


def _explain(error: BaseException, root: BaseException, settings: HttpSettings) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {_connect_limit(settings):g} s"
    if isinstance(root, TimeoutError) and root.errno is None:
        # The timeout of the socket, which may come just before that of the caller.
        return _too_late(settings)
    return " ".join(str(getattr(root, "strerror", None) or root).split()) or type(root).__name__


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
