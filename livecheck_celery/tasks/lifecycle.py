"""Start and stop a LiveCheck with the workers and the beat of its Celery app."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from celery import Celery
from celery.beat import ScheduleEntry
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.signals import (
    after_task_publish,
    beat_embedded_init,
    beat_init,
    celeryd_init,
    import_modules,
    task_revoked,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from celery.worker import state

from livecheck_celery.delivery.queues import own_queue
from livecheck_celery.errors import ConfigurationError, LiveCheckError
from livecheck_celery.propagation.celery import OWN_TASKS
from livecheck_celery.tasks import slots
from livecheck_celery.tasks.beat_exit import exit_in_time
from livecheck_celery.tasks.beat_schedule import PREFIX, RECOVER, STALLED
from livecheck_celery.tasks.broker_watch import BrokerWatch
from livecheck_celery.tasks.brokers import check_one_broker
from livecheck_celery.tasks.own_task import queues_of
from livecheck_celery.tasks.presence import Presence, banner
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.tasks.registration import register_cases
from livecheck_celery.tasks.short_reads import shorten_reads
from livecheck_celery.tasks.shutdown import Shutdown, bootstep, owns_process
from livecheck_celery.utils.compat import connect_method
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds that a cold shutdown waits for tests to be handed back.
_HAND_BACK: Final = 2.0
_TICK: Final = 0.05


def install(app: Celery, livechecks: Sequence[Installed]) -> None:
    """Start and stop ``livechecks``, which can still grow, with the workers and the beat of ``app``."""
    lifecycle = Lifecycle(app, livechecks)
    connect_method(import_modules, lifecycle.load_cases, weak=False)
    connect_method(celeryd_init, lifecycle.declare_queues, weak=False)
    connect_method(worker_init, lifecycle.start, weak=False)
    connect_method(worker_process_init, lifecycle.start_outbox, weak=False)
    connect_method(worker_process_shutdown, lifecycle.process_ends, weak=False)
    connect_method(worker_ready, lifecycle.start_outbox_unless_forking, weak=False)
    connect_method(worker_ready, lifecycle.repeat_signs_of_life, weak=False)
    connect_method(task_revoked, lifecycle.count_expired, weak=False)
    connect_method(worker_shutting_down, lifecycle.interrupt, weak=False)
    connect_method(worker_shutdown, lifecycle.stop, weak=False)
    connect_method(beat_init, lifecycle.start_beat, weak=False)
    connect_method(beat_embedded_init, lifecycle.start_beat, weak=False)
    app.steps["worker"].add(bootstep(lifecycle))


class Lifecycle:
    """Receivers of Celery's signals; signals of other apps are ignored."""

    def __init__(self, app: Celery, livechecks: Sequence[Installed]) -> None:
        self._app = app
        self._livechecks = livechecks
        self._working: list[Installed] = []
        self._shutdown: Shutdown | None = None
        self._presences: list[Presence] = []
        self._beats: list[Presence] = []

    def load_cases(self, sender: Any, **_: Any) -> None:
        """Import the modules named by the setting ``cases``, and add the beat entries of all cases."""
        if sender is self._app:
            # A worker or beat exits with one line; a command shows the error as its own.
            with _refusing_to_start() if self._app.loader.worker_initialized else nullcontext():
                for livecheck in self._livechecks:  # not a copy: a module can make another LiveCheck
                    import_cases(livecheck)
                for livecheck in self._livechecks:
                    # Repeated, since the host may have assigned its own beat_schedule after declaring cases.
                    livecheck.schedule_all()
                self._check_names()

    def _check_names(self) -> None:
        """Check that no two LiveChecks declare one case: messages and records have the name alone.

        Raises:
            ConfigurationError: two do.
        """
        for name, count in Counter(name for each in self._livechecks for name in each.cases).items():
            if count > 1:
                raise ConfigurationError(
                    f"case {name}: name: declared by {count} LiveChecks of the Celery app {self._app.main!r}; "
                    "give each of these cases another name="
                )

    def declare_queues(self, instance: Any, **_: Any) -> None:
        """Declare LiveCheck's queues before the worker looks up the names in its ``-Q``."""
        if instance.app is self._app:
            for livecheck in self._livechecks:
                with _refusing_to_start():
                    for name in queues_of(livecheck):
                        own_queue(self._app, name)

    def start(self, sender: Any, **_: Any) -> None:
        """Refuse unsupported configurations, wait for Redis, and register the cases."""
        if sender.app is not self._app:
            return
        consumed = set(self._app.amqp.queues.consume_from)
        # A host's ordinary worker also imports the cases, but does not run them.
        working = [one for one in self._livechecks if consumed.intersection(queues_of(one))]
        for livecheck in working:
            _start(livecheck)
        self._working = working
        queues = tuple(sorted(consumed))
        self._presences = [Presence(livecheck, "worker", str(sender.hostname), queues) for livecheck in working]
        for presence in self._presences:
            presence.sign_in()
        if not getattr(sender, "quiet", False):  # as Celery's own banner
            # LiveCheck's own app has a LiveCheck without cases, beside that of the module which declares them.
            for livecheck in [one for one in working if one.cases] or working[:1]:
                print(banner(livecheck), file=sys.__stdout__, flush=True)

    def repeat_signs_of_life(self, sender: Any, **_: Any) -> None:
        """Give signs of life of this worker until it exits."""
        if sender.app is self._app:
            for presence in self._presences:
                presence.repeat(sender)

    def start_outbox(self, **_: Any) -> None:
        """Start the outbox of this process, so that it has the shared configuration before its first task."""
        for livecheck in self._livechecks:
            livecheck.runtime.outbox.start()

    def start_outbox_unless_forking(self, sender: Any, **_: Any) -> None:
        """Start the outbox, except in a worker that forks its pool: a process with threads should not fork."""
        if not isinstance(sender.pool, ProcessPool):
            self.start_outbox()

    def worker_started(self, worker: Any) -> None:
        """Share the slots of this worker; watch its shutdown, and its connections to the broker."""
        self._shutdown = Shutdown(worker, self._working) if self._working else None
        if self._working and owns_process(worker):
            slots.install(worker, self._working)
            BrokerWatch(worker.consumer).start()
            shorten_reads(worker.consumer)

    def interrupt(self, how: str = "Warm", **_: Any) -> None:
        """Take no more tests, and hand waiting ones back to other workers after ``shutdown_timeout``."""
        # A signal can arrive while Celery's main thread waits for the broker, long before it stops the worker.
        if self._shutdown is not None:
            self._shutdown.request(cold=how == "Cold")

    def worker_stops(self, worker: Any) -> None:  # noqa: ARG002 - a callback's signature
        """Do as `interrupt` does, also if no signal was sent."""
        self.interrupt("Cold" if state.should_terminate not in (None, False) else "Warm")

    def worker_waits(self, worker: Any) -> None:  # noqa: ARG002 - a callback's signature
        """Wait for the tests that run on the event loop, for ``shutdown_timeout`` at most; then hand them back."""
        self.finish_async_tests()

    def process_ends(self, **_: Any) -> None:
        """Do so in a process of the pool, which can also end alone, by ``worker_max_tasks_per_child``."""
        for livecheck in self._working:
            livecheck.runtime.interruption.end_here(livecheck.settings.shutdown_timeout)
        self.finish_async_tests()

    def finish_async_tests(self) -> None:
        """Wait for the tests on the event loop until the grace period ends."""
        for livecheck in self._working:
            livecheck.runtime.async_tests.finish()

    def worker_terminates(self, worker: Any) -> None:
        """Wait until tests are handed back, for a few seconds at most, and close; Celery waits for nothing."""
        end = time.monotonic() + _HAND_BACK
        self.finish_async_tests()
        while time.monotonic() < end and any(one.runtime.leases.held for one in self._working):
            time.sleep(_TICK)
        self.stop(worker)

    def stop(self, sender: Any, **_: Any) -> None:
        """Close the LiveChecks of this worker."""
        if sender.app is self._app:
            if self._shutdown is not None:
                self._shutdown.leave_to_thread()
            for message, times in ThrottledLogger.lines.left_out().items():
                logger.warning("worker: %d more lines were left out of: %s", times, message)
            for presence in self._presences:
                presence.sign_off()
            for livecheck in self._working:
                if owns_process(sender):
                    livecheck.close()
                else:
                    livecheck.runtime.close()

    def start_beat(self, sender: Any, **_: Any) -> None:
        """Prepare a beat: record a sign of life each time the broker has accepted one of its messages.

        The start is not a sign of life, since a beat can wait for another one to exit.
        """
        if sender.app is not self._app:
            return
        exit_in_time()
        self._beats = [Presence(livecheck, "beat", socket.gethostname()) for livecheck in self._livechecks]
        for task in (RECOVER, STALLED):
            connect_method(after_task_publish, self.beat_alive, sender=task, weak=False)
        with _refusing_to_start():  # a bare beat imports the cases after Celery's signal `import_modules`
            self._delete_stale_entries(sender.scheduler)
        self._reset_future_entries(sender.scheduler)
        for livecheck in self._livechecks:
            try:
                if livecheck.cases:
                    check_one_broker(livecheck)
            except ConfigurationError as exc:
                logger.error("beat: %s", exc)  # noqa: TRY400 - the message says it all

    def _delete_stale_entries(self, scheduler: Any) -> None:
        """Delete entries of removed cases from django-celery-beat's database; other schedulers do so themselves."""
        queues = {livecheck.settings.schedule_queue for livecheck in self._livechecks}
        for name, entry in list(scheduler.schedule.items()):
            stored = getattr(entry, "model", None)
            if (
                stored is not None
                and name.startswith(PREFIX)
                and name not in self._app.conf.beat_schedule
                and entry.options.get("queue") in queues
            ):
                stored.delete()
                logger.info("beat: deleted stale entry %s from the database", name)

    def _reset_future_entries(self, scheduler: Any) -> None:
        """Make entries of LiveCheck due again whose last run is in the future, as after a clock that was ahead.

        Beat would send nothing until that time. Only Celery's own schedulers keep such entries in the process.
        """
        for name, entry in list(scheduler.schedule.items()):
            if type(entry) is ScheduleEntry and name.startswith(PREFIX):
                now, last = entry.default_now(), entry.last_run_at
                if last is not None and last > now:
                    logger.warning("beat: last run of %s was in the future, at %s: reset", name, last)
                    entry.last_run_at = now

    def count_expired(self, sender: Any, expired: bool = False, **_: Any) -> None:
        """Count a message of LiveCheck that expired before this worker executed it.

        That is usual for beat's messages after an outage, but also happens if a clock is off.
        """
        if expired and sender is not None and sender.app is self._app and sender.name.startswith(OWN_TASKS):
            for livecheck in self._working[:1]:
                livecheck.runtime.outbox.count(f"messages expired: {sender.name}")

    def beat_alive(self, **_: Any) -> None:
        """Record a sign of life of beat."""
        for livecheck in self._livechecks:
            try:
                livecheck.runtime.store.liveness.beat_seen()
            except LiveCheckError as exc:
                throttled.warning("beat: sign of life not recorded: %s", exc)
        for presence in self._beats:
            presence.sign_in_if_due()


def import_cases(livecheck: Installed) -> None:
    """Import the modules named by the setting ``cases``.

    Raises:
        ConfigurationError: a module cannot be imported.
    """
    for module in livecheck.settings.cases:
        try:
            livecheck.app.loader.import_task_module(module)
        except ImportError as exc:
            raise ConfigurationError(f"LiveCheck: cases: cannot import module {module!r}: {exc}") from exc


def _start(livecheck: Installed) -> None:
    if not __debug__:
        raise SystemExit(
            "LiveCheck: refusing to start under python -O: it removes every assert, and every test would pass. "
            "Start the worker without -O, and unset PYTHONOPTIMIZE."
        )
    with _refusing_to_start():
        check_one_broker(livecheck)
        livecheck.runtime.reopen()
        # This creates the runtime before the pool forks, so that its processes share the inbox's interruption.
        register_cases(livecheck)


@contextmanager
def _refusing_to_start() -> Iterator[None]:
    try:
        yield
    except LiveCheckError as exc:
        # Celery logs other exceptions of a signal's receiver, and continues.
        raise SystemExit(f"LiveCheck: {str(exc).removeprefix('LiveCheck: ')}") from exc
