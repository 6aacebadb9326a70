"""Ping an external dead-man's switch while all cases are healthy."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from urllib3 import connection, connectionpool

from livecheck_celery.cases.http import fetch
from livecheck_celery.cases.session import Session
from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import LiveCheckError, ServiceDown
from livecheck_celery.tasks.beat_schedule import HEARTBEAT_EVERY
from livecheck_celery.tasks.protocols import Installed, stall_limits
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.secrets import printed_url

logger = get_logger(__name__)

#: A URL in an error of a redirect.
_URL: Final = re.compile(r"(?<![\w+.-])[\w+.-]++://[^\s'\"]+")
_pinging: ContextVar[bool] = ContextVar("livecheck_pinging", default=False)

#: Seconds an execution can be overdue for the sweep, which runs every few seconds.
OVERDUE: Final = 300.0

_HTTP: Final = UrlSettings(
    timeout_total=5.0,
    timeout_connect=None,
    error_retries=1,
    error_delay_min=0.5,
    error_delay_backoff=1.0,
    error_delay_max=0.5,
)


def ping(livecheck: Installed) -> None:
    """Request ``heartbeat_url`` if all cases are healthy, once in each period over all processes; takes up to 11 s.

    The call itself shows that beat sends and a worker executes. A failed ping is logged.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    url = livecheck.settings.heartbeat_url
    if url is None or not livecheck.runtime.store.liveness.claim_heartbeat(HEARTBEAT_EVERY):
        return
    if problems := list(_problems(livecheck)):
        logger.warning("heartbeat: skipped: %s", "; ".join(problems))
        return
    _send(url)


def _send(url: str) -> None:
    token = _pinging.set(True)
    try:
        with Session() as session:
            fetch("GET", url, settings=_HTTP, session=session)
    except ServiceDown as exc:
        reason = str(exc).rpartition(": ")[2]
        _warn(url, shown_urls(reason))
    except (LiveCheckError, OSError, ValueError) as exc:  # the message has the URL
        _warn(url, type(exc).__name__)
    finally:
        _pinging.reset(token)


def shown_urls(text: str) -> str:
    """Return ``text`` with the scheme and the host of each URL in it."""
    return _URL.sub(lambda found: printed_url(found[0], path=False), text)


def _warn(url: str, reason: str) -> None:
    logger.warning("heartbeat: heartbeat_url did not answer: %s: %s", printed_url(url, path=False), reason)


def _is_not_ping(_: logging.LogRecord) -> bool:
    return not _pinging.get()


for _module in (connection, connectionpool):  # their lines have the path, or the whole URL
    _module.log.addFilter(_is_not_ping)


def _problems(livecheck: Installed) -> Iterator[str]:
    limits = stall_limits(livecheck)
    health = livecheck.runtime.store.suites.health(limits)
    for name, state in health.statuses.items():
        if limits[name] is not None and not state.is_ok():
            yield f"case {name} is {state}"
        elif limits[name] is not None and name in health.failing:
            yield f"case {name}: too many tests fail"
    if health.overdue > OVERDUE:
        yield f"recovery is overdue by {health.overdue:.0f} s"
