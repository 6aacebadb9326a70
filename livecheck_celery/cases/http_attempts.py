"""The rules for HTTP attempts of both faces: limits, which failures are retried, and how they are reported."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from tenacity import retry_if_exception, stop_after_attempt, wait_exponential

from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import ServiceDown
from livecheck_celery.utils.hosts import LONGEST
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.secrets import printed_url

#: Size limit of a decoded response body, in bytes.
MAX_BODY: Final = 10 * 1024 * 1024

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_TRANSIENT_CLIENT_ERRORS: Final = frozenset({408, 425, 429})
_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500


class Failed(Exception):
    """An attempt failed; the message is the reason."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.retryable = retryable


def fault_of_host(url: object) -> str | None:
    """Return what is wrong with a URL whose host or port is malformed, or whose host is too long.

    Old versions of idna need minutes for a long one.
    """
    try:
        parts = urlsplit(str(url))
        host = parts.netloc.rpartition("@")[2]
        _ = parts.port  # raises for one that is out of range
    except ValueError as exc:
        return f"the URL is malformed: {message_of(exc)}"
    if len(host) > LONGEST + len(":65535"):
        return f"the host of the URL has {len(host)} characters; a host has at most {LONGEST}"
    return None


def retries(settings: UrlSettings, is_repeatable: Callable[[], bool]) -> dict[str, Any]:
    """Return the arguments of tenacity for the attempts of a request.

    Args:
        settings: number of retries, and the delays between them.
        is_repeatable: whether the body of the request can be sent again.
    """
    return {
        "stop": stop_after_attempt(settings.error_retries + 1),
        "wait": wait_exponential(
            multiplier=settings.error_delay_min,
            exp_base=settings.error_delay_backoff,
            max=settings.error_delay_max,
        ),
        "retry": retry_if_exception(lambda exc: isinstance(exc, Failed) and exc.retryable and is_repeatable()),
        "reraise": True,
    }


def is_retryable(method: str, *, answered: bool) -> bool:
    """Return whether a request can be made again after a failure that is not the request's; ``answered`` in part."""
    return method in _IDEMPOTENT or not answered


def check_status(method: str, status: int, reason: str | None) -> None:
    """Check the status of a response.

    Raises:
        Failed: it is an error; retryable unless the client is at fault.
    """
    if status >= _FIRST_ERROR:
        transient = status >= _FIRST_SERVER_ERROR or status in _TRANSIENT_CLIENT_ERRORS
        retryable = transient and is_retryable(method, answered=True)
        raise Failed(f"{status} {reason or ''}".rstrip(), retryable=retryable)


def check_size(body: bytes | bytearray, limit: int) -> None:
    """Check the size of a body, as far as it was read.

    Raises:
        Failed: it is over ``limit`` bytes.
    """
    if len(body) > limit:
        raise Failed(f"the body is over the limit of {limit} bytes", retryable=False)


def sent_once(status: object) -> Failed:
    """Return the failure of a request whose body is needed again after ``status``, and cannot be sent again."""
    return Failed(f"the body cannot be sent again after {status}", retryable=False)


def timed_out(settings: UrlSettings) -> str:
    """Describe an attempt that reached its total timeout."""
    return f"no complete answer within {settings.timeout_total:g} s"


def not_connected(settings: UrlSettings) -> str:
    """Describe an attempt that reached its connect timeout."""
    return f"no connection within {connect_limit(settings):g} s"


def connect_limit(settings: UrlSettings) -> float | None:
    """Return the seconds for connecting; None for no limit."""
    limits = [limit for limit in (settings.timeout_connect, settings.timeout_total) if limit is not None]
    return min(limits, default=None)


def service_down(method: str, url: str, failed: Failed, attempts: int, *, is_repeatable: bool) -> ServiceDown:
    """Return the error of a request whose attempts all failed, the last one by ``failed``."""
    made = f"{attempts} attempt{'' if attempts == 1 else 's'}"
    if failed.retryable and not is_repeatable:
        made += ", since its body cannot be sent again"
    return ServiceDown(f"{method} {printed_url(url)}: {failed} ({made})")


def root_of(error: BaseException) -> BaseException:
    """Return the first cause of ``error``; of a group, such as the addresses of a host, that of the last member."""
    while True:
        deeper = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if deeper is None and isinstance(error, BaseExceptionGroup):
            deeper = error.exceptions[-1]
        if deeper is None:
            return error
        error = deeper


def explain(root: BaseException) -> str:
    """Describe the first cause of a failure, in the words of the operating system where it has some."""
    return " ".join(str(_words_of_system(root) or message_of(root)).split()) or type(root).__name__


def _words_of_system(root: BaseException) -> str | None:
    if isinstance(root, OSError) and root.errno and not isinstance(root, ssl.SSLError | socket.gaierror):
        return os.strerror(root.errno)  # asyncio writes words of its own into strerror
    return getattr(root, "strerror", None)
