"""Sees to executions that nobody finished: sends them again, or gives the verdict their runner cannot give."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Final

from livecheck_celery.errors import (
    BrokerUnavailable,
    InvalidPayload,
    LiveCheckError,
    LiveCheckTestRaised,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
)
from livecheck_celery.models import State, TestReport

if TYPE_CHECKING:
    from livecheck_celery.case import Case

logger = logging.getLogger("livecheck_celery.recovery")

BATCH: Final = 200

_CONCLUSIONS: Final[dict[str, tuple[State, LiveCheckError]]] = {
    "timeout": (State.TIMEOUT, LiveCheckTestTimeout("still running when the test expired")),
    "lost": (State.ERROR, LiveCheckTestRaised("worker lost: it stopped without a verdict")),
    "expired": (State.SKIP, LiveCheckTestSkipped("expired before a worker took it")),
}


def sweep(case: Case) -> None:
    """Look once at each execution of ``case`` that is due for it.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    for test_id in case.app.store.due(case.name, BATCH):
        try:
            _recover(case, test_id)
        except InvalidPayload as exc:
            logger.error("test %s:%s is given up: %s", case.name, test_id, exc)  # noqa: TRY400
            case.app.store.discard(case.name, test_id)
            case.app.store.post_report(TestReport(case.name, State.ERROR, error=f"test {test_id} is given up: {exc}"))
        except BrokerUnavailable as exc:
            logger.warning("test %s:%s: not sent again yet: %s", case.name, test_id, exc)


def _recover(case: Case, test_id: str) -> None:
    token = uuid.uuid4().hex
    action, test = case.app.store.recover(case.name, test_id, token)
    if test is None:
        return
    if action == "send":
        logger.info("%s: sent again, no worker has it", test.ident)
        case.app.publisher.execute(test)
        return
    state, error = _CONCLUSIONS[action]
    case.Runner(case, test, started=time.monotonic()).conclude(token, state, error)
