"""What a LiveCheck does when a worker or a beat of its Celery app starts and stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.signals import (
    after_task_publish,
    beat_embedded_init,
    beat_init,
    import_modules,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from tenacity import Retrying, retry_if_exception_type, wait_exponential

from livecheck_celery.errors import ConfigurationError, LiveCheckError, RedisUnavailable
from livecheck_celery.store.retry import warn_of_retry
from livecheck_celery.tasks.beat_schedule import OURS, RECOVER, STALLED
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

logger = get_logger(__name__)

_LONGEST_PAUSE = 30.0


def install(app: Celery, suites: Sequence[LiveCheck]) -> None:
    """Have ``suites``, which may still grow, start and stop with the workers and the beat of ``app``."""
    lifecycle = Lifecycle(app, suites)
    import_modules.connect(lifecycle.load_cases, weak=False)
    worker_init.connect(lifecycle.start, weak=False)
    worker_process_init.connect(lifecycle.watch, weak=False)
    worker_ready.connect(lifecycle.watch_unless_forking, weak=False)
    worker_shutting_down.connect(lifecycle.interrupt, weak=False)
    worker_shutdown.connect(lifecycle.stop, weak=False)
    beat_init.connect(lifecycle.watch_beat, weak=False)
    beat_embedded_init.connect(lifecycle.watch_beat, weak=False)


class Lifecycle:
    """Receivers of Celery's signals; those of other apps are passed over."""

    def __init__(self, app: Celery, suites: Sequence[LiveCheck]) -> None:
        self._app = app
        self._suites = suites
        self._working: list[LiveCheck] = []

    def load_cases(self, sender: Any, **_: Any) -> None:
        """Import what the setting ``cases`` names, and see that beat has the entries of every case."""
        if sender is self._app:
            for suite in list(self._suites):
                import_cases(suite)
                # Again, since a host may have assigned its own beat_schedule after declaring cases.
                suite.schedule_all()

    def start(self, sender: Any, **_: Any) -> None:
        """Refuse what cannot work, wait for Redis, and make the cases known."""
        if sender.app is not self._app:
            return
        consumed = set(self._app.amqp.queues.consume_from)
        # A host's ordinary worker imports the cases too; it is none of LiveCheck's business.
        ours = [one for one in self._suites if consumed & {one.settings.queue, one.settings.schedule_queue}]
        for suite in ours:
            _start(suite)
        self._working = ours

    def watch(self, **_: Any) -> None:
        """Have this process, which executes tasks, know what every process is to know before the first."""
        for suite in self._suites:
            suite.outbox.wake()

    def watch_unless_forking(self, sender: Any, **_: Any) -> None:
        """`watch`, in a worker whose pool has no processes, for a process with threads had better not fork."""
        if not isinstance(sender.pool, ProcessPool):
            self.watch()

    def interrupt(self, **_: Any) -> None:
        """Take no more tests; those that wait may go on for a while, and are then handed back for another worker."""
        for suite in self._working:
            suite.inbox.interrupt_after(suite.settings.shutdown_timeout)

    def stop(self, sender: Any, **_: Any) -> None:
        """Close what is open."""
        if sender.app is self._app:
            for suite in self._working:
                suite.close()

    def watch_beat(self, sender: Any, **_: Any) -> None:
        """Have this process, a beat, note that it is alive each time the broker took what it sends.

        Not now: a beat may be waiting for another one to end.
        """
        if sender.app is not self._app:
            return
        for task in (RECOVER, STALLED):
            after_task_publish.connect(self.beat_alive, sender=task, weak=False)
        self._clear(sender.scheduler)

    def _clear(self, scheduler: Any) -> None:
        """Delete what django-celery-beat's database still has of cases that are gone; others forget by themselves."""
        queues = {suite.settings.schedule_queue for suite in self._suites}
        for name, entry in list(scheduler.schedule.items()):
            kept = getattr(entry, "model", None)
            if (
                kept is not None
                and name.startswith(OURS)
                and name not in self._app.conf.beat_schedule
                and entry.options.get("queue") in queues
            ):
                kept.delete()
                logger.info("beat: %s is deleted from the database, as there is no such entry any longer", name)

    def beat_alive(self, **_: Any) -> None:
        """Note that beat is alive."""
        for suite in self._suites:
            try:
                suite.store.liveness.beat_seen()
            except LiveCheckError as exc:
                logger.warning("beat: %s", exc)


def import_cases(suite: LiveCheck) -> None:
    """Import the modules that the setting ``cases`` names.

    Raises:
        ConfigurationError: one cannot be imported.
    """
    for module in suite.settings.cases:
        try:
            suite.app.loader.import_task_module(module)
        except ImportError as exc:
            raise ConfigurationError(f"LiveCheck: cases: module {module!r} cannot be imported: {exc}") from exc


def _start(suite: LiveCheck) -> None:
    if not __debug__:
        raise SystemExit(
            "LiveCheck: refusing to start under python -O: it removes every assert, and every test would pass. "
            "Start the worker without -O, and unset PYTHONOPTIMIZE."
        )
    patient = Retrying(
        retry=retry_if_exception_type(RedisUnavailable),
        wait=wait_exponential(multiplier=1, max=_LONGEST_PAUSE),
        before_sleep=warn_of_retry,
        reraise=True,
    )
    try:
        _ = suite.inbox  # made before the pool forks, so that its processes hear when they are to stop
        patient(suite.store.check)
        for case in suite.cases.values():
            patient(suite.store.registry.register, case.name, case.describe())
        patient(suite.store.suites.expect_tests, list(suite.cases))
        suite.registers = True
    except LiveCheckError as exc:
        # Of a signal's receiver, Celery logs other errors and goes on.
        raise SystemExit(f"LiveCheck: {str(exc).removeprefix('LiveCheck: ')}") from exc
