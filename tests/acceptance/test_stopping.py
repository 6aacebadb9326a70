"""A worker that is told to stop ends in bounded time and hands its tests back, whichever way it was told."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from uuid import uuid4

import pytest

from livecheck_celery import Case
from tests.helpers.fault_proxy import HOST, FaultProxy
from tests.helpers.livecheck_client import Client
from tests.helpers.programs import Program, Programs
from tests.helpers.rabbitmq import RabbitMQ
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

#: As the documentation promises, beyond ``shutdown_timeout``.
BOUND = 5.0
GRACE = 0.2


def start(programs: Programs, pool: str, **env: str) -> Program:
    command = f"celery -A stopping worker -Q celery,livecheck,livecheck.schedule -P {pool} -c 4 -n {uuid4().hex}@%h"
    return programs.start_worker(command, **env)


def begin(client: Client, kind: str) -> tuple[Case, str]:
    """Have a test of ``kind`` run, and return it."""
    case = client.case(f"stopping.test_{kind}", "go")
    name = case.trigger(uuid4().hex).id
    client.wait_claimed(case, name)
    return case, name


def assert_handed_back(client: Client, case: Case, name: str) -> None:
    """Assert that the sweep sends the test again at once."""
    record = client.record(case, name)
    assert "lease_until" not in record, record
    assert client.store.executions.due(case.name, 10) == [name]
    client.store.executions.discard(case.name, name)


def shut_down(client: Client, worker: Program) -> None:
    client.app.control.shutdown()


def send(*numbers: signal.Signals) -> Callable[[Client, Program], None]:
    def stop(client: Client, worker: Program) -> None:
        for number in numbers:
            os.kill(worker.pid, number)
            # On gevent, the handler can run in the greenlet of the test, and end with it before it says so.
            wait_until(lambda: "shutdown" in worker.output() or not worker.is_running(), what="Celery's message")

    return stop


EXITS: dict[str, tuple[str, Callable[[Client, Program], None]]] = {
    "control.shutdown on threads": ("threads", shut_down),
    "control.shutdown on gevent": ("gevent", shut_down),
    "control.shutdown on prefork": ("prefork", shut_down),
    "SIGQUIT on threads": ("threads", send(signal.SIGQUIT)),
    "SIGQUIT on gevent": ("gevent", send(signal.SIGQUIT)),
    "SIGQUIT on prefork": ("prefork", send(signal.SIGQUIT)),
    "SIGINT": ("threads", send(signal.SIGINT)),
    "SIGTERM twice": ("threads", send(signal.SIGTERM, signal.SIGTERM)),
    "SIGTERM, SIGQUIT": ("threads", send(signal.SIGTERM, signal.SIGQUIT)),
}


@pytest.mark.promise(
    "A worker exits within `shutdown_timeout` and 5 s, and hands its tests back, on SIGTERM, SIGINT and SIGQUIT and by "
    "`control.shutdown()`.",
    theme="shutdown",
)
@pytest.mark.parametrize("way", EXITS)
def test_worker_ends_and_hands_back_on_every_exit(programs: Programs, client: Client, way: str) -> None:
    pool, stop = EXITS[way]
    worker = start(programs, pool)
    case, name = begin(client, "waiting")
    stop(client, worker)
    worker.wait_exit(GRACE + BOUND)
    if way != "SIGQUIT on gevent":  # there, Celery waits for greenlets in a signal handler
        assert "Traceback" not in worker.output()
    assert_handed_back(client, case, name)


def test_signal_that_interrupts_a_greenlet_of_a_test_ends_its_worker(programs: Programs, client: Client) -> None:
    """Celery's handler then waits, in that greenlet, for the greenlet itself."""
    worker = start(programs, "gevent")
    case, name = begin(client, "computing")
    worker.wait_for("run() computes")
    os.kill(worker.pid, signal.SIGQUIT)
    worker.wait_exit(GRACE + BOUND)
    assert_handed_back(client, case, name)


def test_remapped_sigterm_is_a_cold_shutdown(programs: Programs, client: Client) -> None:
    worker = start(programs, "threads", REMAP_SIGTERM="SIGQUIT", LIVECHECK_SHUTDOWN_TIMEOUT="60")
    case, name = begin(client, "waiting")
    worker.terminate()
    worker.wait_exit(BOUND)
    assert "Traceback" not in worker.output()
    assert_handed_back(client, case, name)


def test_blocked_run_does_not_keep_a_worker_from_exiting(programs: Programs, client: Client) -> None:
    worker = start(programs, "threads")
    case, name = begin(client, "sleeping")
    case.signals["go"].send("sleep", key=name, force=True)
    worker.wait_for("run() is asleep")
    worker.terminate()
    assert worker.wait_exit(GRACE + BOUND) == 0
    held = f"in on_stop(), with tests that have not ended: {case.name}:{name}; exiting"
    assert re.search(rf"did not stop by itself, held at celery/\S+ {re.escape(held)}", worker.output())
    assert_handed_back(client, case, name)


def test_gevent_worker_that_is_ended_while_it_stops_logs_what_held_it(programs: Programs, client: Client) -> None:
    """The thread that ends it must not wait for an event for which the worker's own thread waits, too."""
    worker = start(programs, "gevent", SLOW_STEP="1")
    worker.terminate()
    assert worker.wait_exit(GRACE + BOUND) == 0
    assert "Error" not in worker.output()
    [line] = [line for line in worker.output().splitlines() if "did not stop by itself" in line]
    assert re.search(r", held at \S+/stopping\.py:\d+ in stop\(\); exiting$", line)


def test_blocked_log_does_not_keep_a_worker_from_exiting(programs: Programs, client: Client) -> None:
    worker = start(programs, "threads")
    case, name = begin(client, "logging")
    worker.wait_for("run() holds the log")
    worker.terminate()
    worker.wait_exit(GRACE + BOUND)
    assert_handed_back(client, case, name)


def test_tasks_of_the_application_are_finished(programs: Programs, client: Client) -> None:
    """Celery's warm shutdown waits for them, so LiveCheck must not end the process."""
    worker = start(programs, "threads")
    result = client.app.send_task("stopping.work", (GRACE + BOUND + 1.0,), queue="celery")
    worker.wait_for("Task stopping.work")
    worker.terminate()
    assert worker.wait_exit(20.0) == 0
    assert result.get(timeout=5) is None
    assert "shutdown: waiting for tasks of the application: stopping.work" in worker.output()


FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "frozen": FaultProxy.stall,
    "refusing": FaultProxy.refuse,
    "black-holed": FaultProxy.black_hole,
}


def assert_ends_without_its_broker(programs: Programs, url: str, broker: str, proxy: FaultProxy, fault: str) -> None:
    client = Client(url, broker.replace("PORT", str(proxy.upstream[1])))
    worker = start(programs, "threads", LIVECHECK_BROKER_URL=broker.replace("PORT", str(proxy.port)))
    tests = [begin(client, kind) for kind in ("waiting", "sleeping")]
    FAULTS[fault](proxy)
    worker.terminate()
    worker.wait_exit(GRACE + BOUND)
    for case, name in tests:
        assert_handed_back(client, case, name)
    client.close()


@pytest.mark.promise(
    "A worker exits within `shutdown_timeout` and 5 s whatever its broker does, and hands its tests back without it.",
    theme="shutdown",
)
@pytest.mark.parametrize("fault", FAULTS)
def test_worker_ends_without_its_redis_broker(programs: Programs, redis_url: str, fault: str) -> None:
    with embedded() as broker, FaultProxy((HOST, broker.port)) as proxy:
        assert_ends_without_its_broker(programs, redis_url, f"redis://{HOST}:PORT/0", proxy, fault)


@pytest.mark.parametrize("fault", FAULTS)
def test_worker_ends_without_rabbitmq(
    programs: Programs, redis_url: str, rabbitmq_server: RabbitMQ, fault: str
) -> None:
    rabbitmq_server.empty()
    with FaultProxy((HOST, rabbitmq_server.port)) as proxy:
        assert_ends_without_its_broker(programs, redis_url, f"amqp://guest:guest@{HOST}:PORT//", proxy, fault)


def test_reconnecting_worker_that_must_stop_takes_no_more_tests(
    programs: Programs, redis_url: str, rabbitmq_server: RabbitMQ
) -> None:
    with FaultProxy((HOST, rabbitmq_server.port)) as proxy:
        client = Client(redis_url, rabbitmq_server.empty())
        worker = start(programs, "threads", LIVECHECK_BROKER_URL=f"amqp://guest:guest@{HOST}:{proxy.port}//")
        proxy.refuse()
        worker.wait_for("Trying again in")
        case = client.case("stopping.test_waiting", "go")
        names = [case.trigger(uuid4().hex).id for _ in range(3)]
        worker.terminate()
        proxy.heal()
        worker.wait_exit(GRACE + BOUND)
        assert [name for name in names if "token" in client.record(case, name)] == []
        client.close()


def test_retrying_fake_request_ends_without_redis(programs: Programs, client: Client, redis_url: str) -> None:
    with FaultProxy((HOST, int(redis_url.rpartition(":")[2].partition("/")[0]))) as proxy:
        worker = start(programs, "threads", SHOP_URL=f"redis://{HOST}:{proxy.port}/0")
        client.app.send_task(
            "livecheck.fake_request", (), {"livecheck_case": "stopping.test_faking"}, queue="livecheck.schedule"
        )
        worker.wait_for("making a fake request")
        proxy.refuse()
        worker.wait_for("retrying in")
        worker.terminate()
        began = time.monotonic()
        assert worker.wait_exit(GRACE + BOUND) == 0
        assert time.monotonic() - began < GRACE + 3.0, "no retry delays the exit"
