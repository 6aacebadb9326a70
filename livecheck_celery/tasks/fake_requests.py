"""Fake requests: each is a run of a schedule, with a lease; the runs of dead workers are re-sent."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.context import fake_request
from livecheck_celery.errors import RedisUnavailable, SuiteFailed
from livecheck_celery.execution.drivers import drive
from livecheck_celery.execution.failures import describe
from livecheck_celery.execution.readable import readable
from livecheck_celery.execution.results import unexecuted
from livecheck_celery.execution.test_log import write
from livecheck_celery.execution.verdicts import is_hand_back
from livecheck_celery.models import State
from livecheck_celery.store import Store
from livecheck_celery.store.retry import Retry
from livecheck_celery.tasks.beat_schedule import FAKE_REQUEST, window_of
from livecheck_celery.tasks.each import each
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)


def make_fake_request(case: BaseCase) -> None:
    """Make the fake request of ``case`` that is due, unless another worker has claimed this run.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    if not case.active or case.frequency is None:
        return
    runtime = case.app.runtime
    token, lease = uuid.uuid4().hex, runtime.leases.lease
    if not runtime.store.schedule_runs.claim(case.name, window_of(case.frequency), token=token, lease=lease):
        return
    with RunLease(runtime.store, runtime.retry, case.name, token, lease=lease):
        try:
            with fake_request(case.name, case.app.settings.max_hop_age):
                made = case.make_fake_request()
                result = drive(case.thread_driver.result_of(f"case {case.name}: make_fake_request()", made))
            if kind := unexecuted(result):
                raise TypeError(f"it returned {kind}, which nothing executes")  # noqa: TRY301 - as if it had raised
        except BaseException as exc:
            error = readable(exc)
            if is_hand_back(error):
                raise
            write(logger, logging.ERROR, "case %s: make_fake_request() raised", case.name, exc_info=error)
            failure = SuiteFailed(f"make_fake_request() raised {describe(error)}")
            failure.recurs = True
            case.fail_suite(failure, State.ERROR)


class RunLease:
    """Renew the lease of the run claimed by ``token`` during the ``with`` block, and finish the run at its end.

    If the worker is stopped during the block, the run is not finished: its lease lapses, and another worker takes over.
    """

    def __init__(self, store: Store, retry: Retry, case_name: str, token: str, *, lease: float) -> None:
        self._runs = store.schedule_runs
        self._retry = retry
        self._case_name = case_name
        self._token = token
        self._lease = lease
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # threads cannot be started: the lease is not renewed
            threading.Thread(target=self._renew, name="livecheck-fake", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if kind is not None and not issubclass(kind, Exception):
            return
        if not self._retry(self._runs.finish, self._case_name, self._token):
            throttled.warning(
                "fake requests: case %s: the request outlasted its lease; another worker made it, too", self._case_name
            )

    def _renew(self) -> None:
        while not self._over.wait(self._lease / 3):
            try:
                if not self._runs.renew(self._case_name, self._token, lease=self._lease):
                    return
            except RedisUnavailable as exc:
                throttled.warning("fake requests: case %s: lease not renewed: %s", self._case_name, exc)


def scheduled_cases(livecheck: Installed) -> set[str]:
    """Return the names of the cases with fake requests."""
    return {name for name, case in dict(livecheck.cases).items() if case.frequency is not None and case.active}


def resend_lapsed(livecheck: Installed, names: Sequence[str]) -> None:
    """Re-send those runs of the cases whose worker died, unless the next run is due.

    Raises:
        BrokerUnavailable: a message was not sent; a sweep sends it when another lease has passed.
        RedisUnavailable: Redis did not answer.
    """
    runtime = livecheck.runtime
    lease = runtime.leases.lease

    def resend(name: str) -> None:
        throttled.warning("fake requests: case %s: run not finished by its worker, re-sending it", name)
        runtime.publisher.send_task(FAKE_REQUEST, name, queue=livecheck.settings.schedule_queue, expires=lease)

    each("fake requests", runtime.store.schedule_runs.lapsed(names, lease=lease), resend)
