"""The sweep: re-send executions that no worker finished, or close them with a verdict."""

from __future__ import annotations

import time
import uuid
from typing import Final

from livecheck_celery.cases.case import Case
from livecheck_celery.errors import (
    BrokerUnavailable,
    LiveCheckError,
    LiveCheckTestRaised,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    UnreadableData,
)
from livecheck_celery.models import State, TestExecution, TestReport
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

BATCH: Final = 200

_CONCLUSIONS: Final[dict[str, tuple[State, LiveCheckError]]] = {
    "timeout": (State.TIMEOUT, LiveCheckTestTimeout("still running when the test expired")),
    "lost": (State.ERROR, LiveCheckTestRaised("worker lost: it stopped without a verdict")),
    "expired": (State.SKIP, LiveCheckTestSkipped("expired before a worker took it")),
}


def sweep(case: Case) -> None:
    """Recover each execution of ``case`` that is due.

    Raises:
        BrokerUnavailable: messages were not sent; the next sweep sends them.
        RedisUnavailable: Redis did not answer.
    """
    token = uuid.uuid4().hex
    while due := case.app.runtime.store.executions.due(case.name, BATCH):
        to_send: list[TestExecution] = []
        try:
            for test_id in due:
                if test := _recover(case, test_id, token):
                    to_send.append(test)  # noqa: PERF401 - those collected are sent even if the next one raises
        finally:
            # No other sweep handles these for a while, so they are sent even if recovering another one failed.
            if to_send:
                _resend(case, to_send)


def _resend(case: Case, tests: list[TestExecution]) -> None:
    runtime = case.app.runtime
    try:
        runtime.publisher.execute_all(tests)
    except BrokerUnavailable:
        runtime.store.executions.make_due(case.name, [test.id for test in tests])
        raise
    logger.info("recovery: case %s: re-sent, no worker has them: %s", case.name, ", ".join(test.id for test in tests))


def _recover(case: Case, test_id: str, token: str) -> TestExecution | None:
    """Return the execution if its message must be re-sent; record its verdict if it must be closed."""
    store = case.app.runtime.store
    try:
        action, test = store.executions.recover(case.name, test_id, token)
    except UnreadableData as exc:
        logger.error("recovery: %s:%s discarded: %s", case.name, test_id, exc)  # noqa: TRY400 - the message says it all
        store.executions.discard(case.name, test_id)
        store.reports.post(TestReport(case.name, State.ERROR, error=f"test {test_id} discarded: {exc}"))
        return None
    if action == "send" or test is None:
        return test
    state, error = _CONCLUSIONS[action]
    runner = case.Runner(case, test, started=time.monotonic())
    runner.conclude(token, state, error)
    return None
