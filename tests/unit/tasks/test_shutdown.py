"""The exit of a worker that does not stop by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from livecheck_celery import LiveCheck, RedisUnavailable
from livecheck_celery.store import Store
from livecheck_celery.tasks import shutdown
from livecheck_celery.tasks.shutdown import Shutdown, owns_process
from livecheck_celery.utils.native import native
from tests.helpers.factories import CASE, make_test
from tests.helpers.waiting import wait_until


@dataclass(frozen=True)
class Request:
    """A task that the worker executes."""

    name: str


class Process:
    """The process of the worker: its threads, which end with the test, and the codes with which it exits."""

    def __init__(self) -> None:
        self.exits: list[int] = []
        self.over = threading.Event()
        self.threads: list[threading.Thread] = []

    def start_thread(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def wait_exit(self) -> int:
        """Wait for the exit; later ones are of threads that a real exit ends."""
        return wait_until(lambda: self.exits[:1], what="the exit of the process")[0]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, livecheck: LiveCheck) -> Iterator[Process]:
    """A process that belongs to the worker, which exits 0.1 s after the grace period of 0.1 s."""
    process = Process()

    def of_process(module: str, name: str) -> Any:
        own = {"start_new_thread": process.start_thread, "sleep": process.over.wait}
        return own.get(name) or native(module, name)

    livecheck.settings = livecheck.settings.model_copy(update={"shutdown_timeout": 0.1})
    monkeypatch.setattr(state, "active_requests", set())
    monkeypatch.setattr(shutdown, "native", of_process)
    monkeypatch.setattr(shutdown, "owns_process", lambda _: True)
    monkeypatch.setattr(shutdown, "active_children", list)
    monkeypatch.setattr(shutdown, "Store", lambda *_, **__: livecheck.runtime.request_store)  # of its fake server
    monkeypatch.setattr(os, "_exit", process.exits.append)
    for name, seconds in (("EXIT_WITHIN", 0.1), ("_GIVE_BACK", 0.1), ("_TICK", 0.01)):
        monkeypatch.setattr(shutdown, name, seconds)
    yield process
    process.over.set()
    state.active_requests.clear()
    for thread in process.threads:
        thread.join(10.0)


def make_worker(exitcode: int | None = None, give_back: Callable[[], object] = list, **consumer: Any) -> Any:
    """A Celery worker whose consumer returns its messages with ``give_back``."""
    released: list[str] = []
    pidlock = SimpleNamespace(release=lambda: released.append("pidfile"))
    consumer = {"shutdown": give_back, **consumer}
    return SimpleNamespace(exitcode=exitcode, consumer=SimpleNamespace(**consumer), pidlock=pidlock, released=released)


def hold(livecheck: LiveCheck, test_id: str) -> None:
    """Have this process run a test."""
    test, executions = make_test(test_id), livecheck.runtime.store.executions
    executions.record(test, expires_in=60)
    executions.claim(test, token="t", address="a", lease=30, active=True, frequency=None, max_history=10, expires_in=60)
    livecheck.runtime.leases.hold((CASE, test_id, "t"))


def active(name: str) -> Request:
    """Have the worker execute a task."""
    request = Request(name)
    state.active_requests.add(request)
    return request


def test_worker_that_does_not_stop_exits_and_gives_everything_back(
    livecheck: LiveCheck, process: Process, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    returned: list[str] = []
    worker = make_worker(70, lambda: returned.append("messages"))
    hold(livecheck, "o-1")
    assert store.executions.due(CASE, 10) == []
    Shutdown(worker, [livecheck]).request()
    assert process.wait_exit() == 70
    assert store.executions.due(CASE, 10) == ["o-1"], "recovery sends it again at once"
    assert (returned, worker.released) == (["messages"], ["pidfile"])
    [line] = caplog.messages
    assert re.fullmatch(
        r"shutdown: this worker did not stop by itself, held at \S+/tests/helpers/waiting\.py:\d+ in wait_until\(\), "
        rf"with tests that have not ended: {CASE}:o-1; exiting",
        line,
    )


def test_worker_that_returns_its_messages_itself_is_not_disturbed(livecheck: LiveCheck, process: Process) -> None:
    """Two threads that close the connection at once make the worker raise, and exit with 1."""
    calls: list[str] = []

    def give_back() -> None:
        calls.append("messages")
        if len(calls) == 1:
            ended.request()
            process.wait_exit()

    worker = make_worker(give_back=give_back)
    ended = Shutdown(worker, [livecheck])
    worker.consumer.shutdown()  # as Celery does in its main thread
    assert calls == ["messages"]


def test_exit_of_the_worker_itself_waits_for_the_end_that_has_begun(
    livecheck: LiveCheck, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    ended = Shutdown(make_worker(), [livecheck])
    ended.leave_to_thread()
    assert slept == []
    ended.request()
    process.wait_exit()
    ended.leave_to_thread()
    assert slept == [shutdown._EXIT_AT_LATEST]


def test_items_that_are_still_queued_are_sent_before_the_exit(
    livecheck: LiveCheck, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[float, list[int]]] = []
    with monkeypatch.context() as patch:
        patch.setattr(livecheck.runtime.outbox, "flush", lambda limit: flushed.append((limit, [*process.exits])))
        Shutdown(make_worker(), [livecheck]).request()
        assert process.wait_exit() == 0
    assert flushed == [(0.1, [])]


def test_broker_that_does_not_answer_delays_no_exit(livecheck: LiveCheck, process: Process) -> None:
    worker = make_worker(give_back=lambda: process.over.wait(10.0))
    Shutdown(worker, [livecheck]).request()
    process.wait_exit()
    assert worker.released == ["pidfile"]


def test_broker_that_raises_prevents_no_exit(livecheck: LiveCheck, process: Process) -> None:
    def fail() -> None:
        raise ConnectionError

    worker = make_worker(give_back=fail)
    Shutdown(worker, [livecheck]).request()
    process.wait_exit()
    assert worker.released == ["pidfile"]


def test_blocked_thread_prevents_no_exit(
    livecheck: LiveCheck, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that holds the lock of the log, for example."""
    monkeypatch.setattr(shutdown, "_EXIT_AT_LATEST", 0.3)
    monkeypatch.setattr(shutdown.logger, "warning", lambda *_: process.over.wait(10.0))
    worker = make_worker(3)
    Shutdown(worker, [livecheck]).request()
    assert process.wait_exit() == 3
    assert worker.released == [], "the thread that ends the process is still blocked"


def test_worker_without_redis_leaves_its_tests_to_recovery_and_exits(
    livecheck: LiveCheck, process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise RedisUnavailable("refused")

    monkeypatch.setattr(livecheck.runtime.request_store.executions, "release_all", fail)
    Shutdown(make_worker(), [livecheck]).request()
    process.wait_exit()
    assert caplog.messages[0] == "shutdown: tests not handed back, recovery takes over: refused"


def test_exit_kills_the_processes_of_the_pool(
    livecheck: LiveCheck, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    with (
        subprocess.Popen([sys.executable, "-c", ""]) as exited,
        subprocess.Popen([sys.executable, "-c", code]) as running,
    ):
        exited.wait()
        monkeypatch.setattr(shutdown, "active_children", lambda: [exited, running])
        Shutdown(make_worker(), [livecheck]).request()
        process.wait_exit()
        assert running.wait(10) == -signal.SIGKILL


def test_tasks_of_the_application_are_finished_first(
    livecheck: LiveCheck, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    active("livecheck.execute")
    task = active("shop.send")
    Shutdown(make_worker(), [livecheck]).request()
    wait_until(lambda: caplog.messages, what="the log line")
    assert caplog.messages == ["shutdown: waiting for tasks of the application: shop.send"]
    assert process.exits == []
    state.active_requests.discard(task)
    process.wait_exit()


def test_cold_shutdown_waits_for_no_task(livecheck: LiveCheck, process: Process) -> None:
    active("shop.send")
    shutdown = Shutdown(make_worker(), [livecheck])
    shutdown.request()
    shutdown.request(cold=True)
    process.wait_exit()
    assert livecheck.runtime.interruption.is_due


def test_process_of_a_host_that_embeds_the_worker_is_not_ended(
    livecheck: LiveCheck, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "owns_process", owns_process)
    Shutdown(make_worker(), [livecheck]).request(cold=True)
    assert process.threads == []


def test_cold_shutdown_cancels_tasks_of_the_application_only(livecheck: LiveCheck, process: Process) -> None:
    cancelled: list[str] = []
    worker = make_worker(
        cancel_active_requests=lambda: cancelled.extend(one.name for one in state.active_requests),
    )
    Shutdown(worker, [livecheck])
    active("livecheck.execute")
    active("shop.send")
    worker.consumer.cancel_active_requests()  # as Celery does at SIGQUIT
    assert cancelled == ["shop.send"]
    assert livecheck.runtime.interruption.is_due, "the test is handed back"
    process.wait_exit()


def test_cold_shutdown_on_a_pool_that_cannot_cancel_is_a_warning(
    livecheck: LiveCheck, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise NotImplementedError

    worker = make_worker(cancel_active_requests=fail)
    Shutdown(worker, [livecheck])
    worker.consumer.cancel_active_requests()
    assert caplog.messages[0] == "shutdown: tasks on this pool cannot be cancelled; waiting for them"
    process.wait_exit()
