"""The sweep: re-send executions that no worker finished, or close them with a verdict."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import cache
from typing import Final

from celery import states
from celery.app.task import Context

from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.delivery.message_options import MessageOptions
from livecheck_celery.delivery.publisher import EXECUTE
from livecheck_celery.errors import (
    BrokerUnavailable,
    LiveCheckError,
    LiveCheckTestRaised,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    UnreadableData,
    UnreadableKey,
)
from livecheck_celery.models import State, TestExecution, TestReport
from livecheck_celery.store.counters import RESENT
from livecheck_celery.store.replies import Recovery
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

BATCH: Final = 200

_CONCLUSIONS: Final[dict[str, tuple[State, LiveCheckError]]] = {
    "timeout": (State.TIMEOUT, LiveCheckTestTimeout("still running when the test expired")),
    "lost": (State.ERROR, LiveCheckTestRaised("worker lost: it stopped without a verdict")),
    "expired": (State.SKIP, LiveCheckTestSkipped("expired before a worker took it")),
    "revoked": (State.SKIP, LiveCheckTestSkipped("revoked")),
}


class Queues:
    """Which queues have messages, asked once in each recovery pass."""

    def __init__(self, has_messages: Callable[[str | None], bool]) -> None:
        self._has_messages = cache(has_messages)

    def may_have(self, test: TestExecution) -> bool:
        """Return whether the message of ``test`` can be one of those that wait.

        A message that is not lost is not sent again: 500 tests would have thousands of messages when workers are busy
        or down. Recovery sends a lost one when the queue is empty, or has delivered messages that were sent later.
        """
        options = MessageOptions.parse(test.message_options).sending
        return "exchange" not in options and self._has_messages(options.get("queue"))

    @staticmethod
    def has_exchange(test: TestExecution) -> bool:
        """Return whether the message of ``test`` is sent to an exchange of the caller's."""
        return "exchange" in MessageOptions.parse(test.message_options).sending


def sweep(case: BaseCase, queues: Queues | None = None) -> None:
    """Recover each execution of ``case`` that is due.

    Args:
        case: the case.
        queues: those of the recovery pass, if it has several cases.

    An execution that cannot be recovered because of what Redis holds is logged; the others are recovered.

    Raises:
        BrokerUnavailable: messages were not sent; the next sweep sends them.
        RedisUnavailable: Redis did not answer.
    """
    token = uuid.uuid4().hex
    queues = queues or Queues(case.app.runtime.publisher.has_messages)
    sent: set[str] = set()
    left: set[str] = set()
    while due := [one for one in case.app.runtime.store.executions.due(case.name, BATCH) if one not in left]:
        to_send: list[Recovery] = []
        try:
            for test_id in due:
                try:
                    found = _recover(case, test_id, token, queues)
                except UnreadableKey as exc:
                    left.add(test_id)
                    throttled.error("recovery: %s:%s left: %s", case.name, test_id, exc, key=f"left {case.name}")
                    continue
                if found is not None and test_id not in sent:  # the queues were asked before this pass sent
                    to_send.append(found)
                    sent.add(test_id)
        finally:
            # No other sweep handles these for a while, so they are sent even if recovering another one failed.
            # Those with an exchange last: if it is gone, the broker refuses the whole batch.
            for has_exchange in (False, True):
                if batch := [one for one in to_send if one.test and Queues.has_exchange(one.test) == has_exchange]:
                    _resend(case, batch)


def _resend(case: BaseCase, found: list[Recovery]) -> None:
    runtime, tests = case.app.runtime, [one.test for one in found if one.test is not None]
    try:
        runtime.publisher.execute_all(tests)
    except BrokerUnavailable:
        runtime.store.executions.unsent(found)
        raise
    except Exception as exc:  # noqa: BLE001 - the options of one message cannot be used
        reraise_from_handler(exc)
        if len(tests) == 1:
            _discard(case, tests[0].id, type_and_message(exc))
        else:  # a message that was sent twice is executed once
            for one in found:
                _resend(case, [one])
        return
    if lost := sum(one.action != "again" for one in found):
        runtime.outbox.count(RESENT, lost)
    logger.info("recovery: case %s: re-sent, no worker has them: %s", case.name, ", ".join(test.id for test in tests))


def _recover(case: BaseCase, test_id: str, token: str, queues: Queues) -> Recovery | None:
    """Return the execution if its message must be re-sent; record its verdict if it must be closed."""
    store = case.app.runtime.store
    try:
        action, test = found = store.executions.recover(case.name, test_id, token)
        if test is not None:
            MessageOptions.parse(test.message_options)
    except UnreadableKey:  # not of the execution alone
        raise
    except UnreadableData as exc:
        _discard(case, test_id, str(exc))
        return None
    if test is None:
        return None
    if action in ("send", "again"):
        return found
    if action == "resend":
        try:
            return None if queues.may_have(test) else found
        except BrokerUnavailable:
            store.executions.unsent([found])
            raise
    state, error = _CONCLUSIONS[action]
    runner = case.make_runner(test)
    runner.conclude(token, state, error)
    if runner.report is not None and action != "revoked":  # Celery has stored the result of a revoked task
        _store_result(case, test, state)
    return None


def _discard(case: BaseCase, test_id: str, problem: str) -> None:
    """Delete an execution that cannot get a verdict because of what Redis holds, and report it."""
    store = case.app.runtime.store
    store.unreadable.skip(store.keys.test(case.name, test_id), f"discarded: {problem}")
    store.executions.discard(case.name, test_id)
    store.reports.post(TestReport(case.name, State.ERROR, error=f"test {test_id} discarded: {problem}"))


def _store_result(case: BaseCase, test: TestExecution, state: State) -> None:
    """Store the verdict as the result of the task, for a caller who waits for it."""
    options = MessageOptions.parse(test.message_options).message
    task_id, app = options.get("task_id"), case.app.app
    if task_id is None or options.get("ignore_result"):
        return
    request = Context(id=task_id, correlation_id=task_id, reply_to=options.get("reply_to"), task=EXECUTE)
    try:
        app.backend.store_result(task_id, state.value, states.SUCCESS, request=request)
    except Exception as exc:  # noqa: BLE001 - each result backend raises its own errors
        throttled.warning("recovery: %s: result not stored: %s", test.ident, type_and_message(exc))


def revoke(case: BaseCase, test: TestExecution, token: str) -> None:
    """Record SKIP for an execution whose task was revoked, unless it has a verdict.

    Raises:
        RedisUnavailable: Redis did not answer for a minute.
    """
    if case.app.runtime.retry(case.app.runtime.store.executions.revoke, test, token):
        case.make_runner(test).conclude(token, *_CONCLUSIONS["revoked"])
