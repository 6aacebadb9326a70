"""Keeps a fake request this process's while it is being made, and has those of dead workers made again."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store.retry import with_retry
from livecheck_celery.store.store import Store
from livecheck_celery.tasks.beat_schedule import FAKE_REQUEST
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

logger = get_logger(__name__)


class Held:
    """Within its ``with`` block the run claimed by ``token`` is this process's; at its end it is finished.

    It is not when the worker is told to go in the middle of it: then the run lapses, and another makes it.
    """

    def __init__(self, store: Store, case_name: str, token: str, *, lease: float) -> None:
        self._store = store
        self._case_name = case_name
        self._token = token
        self._lease = lease
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # no more threads: then the lease is what it is
            threading.Thread(target=self._renew, name="livecheck-fake", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if kind is not None and not issubclass(kind, Exception):
            return
        if not with_retry(self._store.schedule_runs.finish, self._case_name, self._token):
            logger.warning("case %s: the fake request took so long that another worker made it too", self._case_name)

    def _renew(self) -> None:
        while not self._over.wait(self._lease / 3):
            try:
                if not self._store.schedule_runs.renew(self._case_name, self._token, lease=self._lease):
                    return
            except RedisUnavailable as exc:
                logger.warning("case %s: the lease of its fake request was not renewed: %s", self._case_name, exc)


def make_up(suite: LiveCheck) -> None:
    """Ask for the fake requests whose worker fell silent over them, if their time is not over.

    Raises:
        BrokerUnavailable: a message could not be sent; it is tried again after a lease.
        RedisUnavailable: Redis did not answer.
    """
    lease = suite.leases.lease
    faked = [name for name, case in list(suite.cases.items()) if case.active and case.frequency is not None]
    for name in suite.store.schedule_runs.lapsed(faked, lease=lease):
        logger.warning("case %s: its fake request was not finished, and is asked for again", name)
        suite.publisher.ask_for(FAKE_REQUEST, name, queue=suite.settings.schedule_queue, expires=lease)
