"""Checks of the broker, and of the workers that consume LiveCheck's queues."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cli import console
from livecheck_celery.cli.celery_commands import Commands
from livecheck_celery.cli.doctor.findings import Finding, warning
from livecheck_celery.default_app import is_default
from livecheck_celery.delivery.publisher import EXECUTE
from livecheck_celery.errors import ConfigurationError, LiveCheckError
from livecheck_celery.store.liveness import RunningProcess
from livecheck_celery.tasks.brokers import check_one_broker
from livecheck_celery.tasks.own_task import UNLIMITED
from livecheck_celery.tasks.presence import SIGN_EVERY
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.secrets import printed_url

#: Seconds to wait for the broker, even if a connection hangs.
TIMEOUT: Final = 5.0
#: Seconds after its last sign of life for which a worker counts as running; it gives one every 20 s.
MAX_AGE: Final = 50.0

T = TypeVar("T")


def check_broker(livecheck: BaseLiveCheck) -> Finding:
    """Check that the Celery broker answers."""
    url = printed_url(livecheck.settings.broker_url)

    def connect() -> None:
        with _connection(livecheck) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)

    try:
        call_with_timeout(TIMEOUT, connect)
    except Exception as exc:  # noqa: BLE001 - each transport raises its own errors
        found = f"{url} did not answer ({_first_line(exc)})"
        return Finding(False, "broker", found, "start the broker, or correct broker_url")
    return Finding(True, "broker", url)


def check_app_broker(livecheck: BaseLiveCheck) -> Iterator[Finding]:
    """Check that the app's workers and beat use the broker that tests are sent to; nothing is found if they do."""
    try:
        check_one_broker(livecheck)
    except ConfigurationError as exc:
        found, _, fix = str(exc).removeprefix("LiveCheck: broker_url: ").partition("; ")
        yield Finding(False, "broker", found, fix)


def check_workers(livecheck: BaseLiveCheck, commands: Commands) -> Iterator[Finding]:
    """Check that a worker consumes each queue, and that the workers suit tests."""
    settings = livecheck.settings
    queues = (settings.queue, settings.schedule_queue)
    try:
        workers = query_workers(livecheck)
    except LiveCheckError as exc:
        yield from (Finding(False, "queue", f"{each}: {exc}") for each in queues)
        return
    for each in queues:
        yield judge_queue(each, workers, commands)
        if each == livecheck.app.conf.task_default_queue and not is_default(livecheck.app):
            yield warning(
                "queue",
                f"{each}: it is also task_default_queue of {livecheck.app.main}, whose own tasks wait among the tests",
                "give one of them another name",
            )
    running = [each for each in workers if each.age < MAX_AGE]
    yield from judge_workers(running, settings.queue, queues, commands)


def judge_queue(name: str, workers: Sequence[RunningProcess], commands: Commands) -> Finding:
    """Judge whether a worker consumes the queue ``name``, and say when each was last seen."""
    seen = ", ".join(f"{each.name}, seen {console.age(each.age)}" for each in workers if name in each.queues)
    if any(name in each.queues and each.age < MAX_AGE for each in workers):
        return Finding(True, "queue", f"{name}: consumed by {seen}")
    found = f"{name}: no worker consumes it" + (f" any more: {seen}" if seen else "")
    return Finding(False, "queue", found, f"start one: {commands.worker}")


def judge_workers(
    workers: Sequence[RunningProcess], test_queue: str, queues: Sequence[str], commands: Commands
) -> Iterator[Finding]:
    """Judge the workers that run tests: their names, other queues they consume, and their pools."""
    # A worker that was killed has no sign of life of this period; its successor has the same name.
    for name, count in Counter(worker.name for worker in workers if worker.age < SIGN_EVERY).items():
        if count > 1:
            yield warning("worker", f"{count} workers are named {name}", "give each its own name with -n")
    for worker in workers:
        if test_queue not in worker.queues:
            continue
        if others := sorted(set(worker.queues).difference(queues)):
            yield warning(
                "worker",
                f"{worker.name} also consumes {', '.join(others)}, whose tasks wait while tests occupy its slots",
                f"start a worker for LiveCheck's queues only: {commands.worker}",
            )
        if "prefork" in worker.pool:
            yield warning(
                "worker",
                f"{worker.name} runs tests in a prefork pool, where each waiting test occupies a process",
                f"use a thread pool: {commands.worker}",
            )


def check_limits(livecheck: BaseLiveCheck) -> Iterator[Finding]:
    """Check that no time limit of Celery is shorter than the tests, which have ``max_runtime``."""
    task: Any = livecheck.app.tasks[EXECUTE]
    limit = min(filter(None, (task.time_limit, task.soft_time_limit)), default=UNLIMITED)
    longer = sorted(name for name, case in livecheck.cases.items() if (case.max_runtime or UNLIMITED) > limit)
    if longer:
        found = f"task_annotations of {EXECUTE} end a test after {limit:g} s, but {', '.join(longer)} can take longer"
        yield warning("limits", found, "remove time_limit and soft_time_limit there, or set a shorter max_runtime")
    for name in ("task_time_limit", "task_soft_time_limit"):
        if value := livecheck.app.conf[name]:
            yield Finding(True, "limits", f"{name} of {value:g} s does not apply to tests, which have max_runtime")


def query_workers(livecheck: BaseLiveCheck) -> list[RunningProcess]:
    """Read the workers of LiveCheck that gave a sign of life in the last two minutes.

    Celery's remote control can be off, and leaves a queue of replies in Redis when the command is killed.

    Raises:
        UnreadableData: a stored value cannot be parsed.
        RedisUnavailable: Redis did not answer.
    """
    processes = livecheck.runtime.store.liveness.processes()
    # Each LiveCheck of a worker gives its own sign of life.
    distinct = {(each.name, each.host, each.pid): each for each in processes if each.kind == "worker"}
    return list(distinct.values())


def call_with_timeout(timeout: float, function: Callable[[], T]) -> T:
    """Call ``function`` in a thread, and return its result; after a timeout the thread is abandoned.

    Raises:
        TimeoutError: the call took longer than ``timeout`` seconds.
    """
    done: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((function(), None))
        except Exception as exc:  # noqa: BLE001 - raised again in the caller
            done.put((None, exc))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = done.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"timeout after {timeout:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value] # without an error there is one


def _connection(livecheck: BaseLiveCheck) -> Any:
    return livecheck.app.connection_for_write(livecheck.settings.broker_url)


def _first_line(error: Exception) -> str:
    return (message_of(error).splitlines() or [""])[0] or type(error).__name__
