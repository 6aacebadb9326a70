"""Sees to executions that nobody finished: sends them again, or gives the verdict their runner cannot give."""

from __future__ import annotations

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
from livecheck_celery.models import State, TestExecution, TestReport
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case

logger = get_logger(__name__)

BATCH: Final = 200

_CONCLUSIONS: Final[dict[str, tuple[State, LiveCheckError]]] = {
    "timeout": (State.TIMEOUT, LiveCheckTestTimeout("still running when the test expired")),
    "lost": (State.ERROR, LiveCheckTestRaised("worker lost: it stopped without a verdict")),
    "expired": (State.SKIP, LiveCheckTestSkipped("expired before a worker took it")),
}


def sweep(case: Case) -> None:
    """Look once at each execution of ``case`` that is due for it.

    Raises:
        BrokerUnavailable: messages could not be sent; the next sweep sends them.
        RedisUnavailable: Redis did not answer.
    """
    token = uuid.uuid4().hex
    while due := case.app.store.executions.due(case.name, BATCH):
        to_send: list[TestExecution] = []
        try:
            for test_id in due:
                if test := _see_to(case, test_id, token):
                    to_send.append(test)  # noqa: PERF401 - what is there so far counts when the next one fails
        finally:
            # No other sweep looks at these for a while, so they are sent whatever became of the rest.
            if to_send:
                _send_again(case, to_send)


def _send_again(case: Case, tests: list[TestExecution]) -> None:
    try:
        case.app.publisher.execute_all(tests)
    except BrokerUnavailable:
        case.app.store.executions.look_again(case.name, [test.id for test in tests])
        raise
    logger.info("case %s: sent again, as no worker has them: %s", case.name, ", ".join(test.id for test in tests))


def _see_to(case: Case, test_id: str, token: str) -> TestExecution | None:
    """The execution, if its message is to be sent again."""
    try:
        action, test = case.app.store.executions.recover(case.name, test_id, token)
    except InvalidPayload as exc:
        logger.error("test %s:%s is given up: %s", case.name, test_id, exc)  # noqa: TRY400
        case.app.store.executions.discard(case.name, test_id)
        case.app.store.reports.post(TestReport(case.name, State.ERROR, error=f"test {test_id} is given up: {exc}"))
        return None
    if action == "send" or test is None:
        return test
    state, error = _CONCLUSIONS[action]
    case.Runner(case, test, started=time.monotonic()).conclude(token, state, error)
    return None
