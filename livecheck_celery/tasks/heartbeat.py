"""Ping an external dead-man's switch while all cases are healthy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from livecheck_celery.cases.http import fetch
from livecheck_celery.cases.session import Session
from livecheck_celery.config import UrlSettings
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.tasks.beat_schedule import HEARTBEAT_EVERY
from livecheck_celery.tasks.protocols import Installed, stall_limits
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)


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
    try:
        with Session() as session:
            fetch("GET", url, settings=_HTTP, session=session)
    except (LiveCheckError, OSError, ValueError) as exc:
        # The message begins with the URL, whose path is a secret.
        logger.warning("heartbeat: heartbeat_url did not answer: %s", str(exc).rpartition(": ")[2])


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
