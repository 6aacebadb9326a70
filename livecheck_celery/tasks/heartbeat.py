"""Pings an outside dead-man's switch while all is well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import requests

from livecheck_celery.cases.http import HttpSettings, fetch
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.models import State
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

logger = get_logger(__name__)

#: Seconds between pings.
EVERY: Final = 60.0
#: Seconds for which an execution may wait for the sweep, which comes every few.
OVERDUE: Final = 300.0

_HTTP: Final = HttpSettings(
    timeout_total=5.0, timeout_connect=None, retries=1, delay_min=0.5, backoff=1.0, delay_max=0.5
)


def beat_once(suite: LiveCheck) -> None:
    """Ask for ``heartbeat_url`` if all is well and nobody else does in this period; ends within 11 s.

    That this is called at all shows that beat sends and a worker executes. What fails is logged, and is no error.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    url = suite.settings.heartbeat_url
    if url is None or not suite.store.liveness.claim_heartbeat(EVERY):
        return
    if wrong := list(_wrong(suite)):
        logger.warning("heartbeat_url is not asked for, as not all is well: %s", "; ".join(wrong))
        return
    try:
        with requests.Session() as session:
            fetch("GET", url, settings=_HTTP, session=session)
    except (LiveCheckError, requests.RequestException, OSError, ValueError) as exc:
        # The path of such a URL is a secret, which the message begins with.
        logger.warning("heartbeat_url did not answer: %s", str(exc).rpartition(": ")[2])


def _wrong(suite: LiveCheck) -> Iterator[str]:
    expected = {name: case.warn_stalled_after if case.active else None for name, case in list(suite.cases.items())}
    health = suite.store.suites.health(expected)
    for name, state in health.statuses.items():
        if expected[name] is not None and not state.is_ok():
            yield f"case {name} is {State(state)}"
    if health.overdue > OVERDUE:
        yield f"recovery has not looked at a test for {health.overdue:.0f} s"
