"""Cases of the asyncio face on real workers: their tests hold no slot, and are kept as those of the other face."""

from __future__ import annotations

import os
import signal
from uuid import uuid4

import pytest
from celery import chain

from livecheck_celery import Case, State
from tests.helpers.livecheck_client import Client, report_of, reports_of
from tests.helpers.programs import Program, Programs
from tests.helpers.waiting import wait_until

SLOTS = 2
POOLS = ["threads", "prefork", "gevent", "solo"]


def start(programs: Programs, pool: str = "threads", **env: str) -> Program:
    queues = "celery,livecheck,livecheck.schedule"
    return programs.start_worker(f"celery -A loops worker -Q {queues} -P {pool} -c {SLOTS} -n {uuid4().hex}@%h", **env)


def claimed(client: Client, case: Case) -> int:
    """Count the tests of ``case`` that a worker has claimed, with those that have a verdict."""
    keys = client.store.client.scan_iter(f"*{{{case.name}}}:test:*", count=5_000)
    return sum(bool(client.store.client.hget(key, "token")) for key in keys)


def wait_claimed(client: Client, case: Case, count: int) -> None:
    wait_until(lambda: claimed(client, case) >= count, 60, f"{count} claims")


@pytest.mark.promise("Tests of the asyncio face hold no slot of their worker while they wait.", theme="aio")
@pytest.mark.parametrize("pool", POOLS)
def test_more_tests_wait_than_the_worker_has_slots(programs: Programs, client: Client, pool: str) -> None:
    start(programs, pool)
    case = client.case("loops.test_waiting", "go")
    results = [case.trigger.delay(f"o-{number}", number) for number in range(40)]
    wait_claimed(client, case, 40)
    for number in range(40):
        case.go.send(number, key=f"o-{number}", force=True)
    assert [result.get(timeout=30) for result in results] == ["PASS"] * 40
    assert {report.state for report in reports_of(case)} == {State.PASS}


def test_chain_continues_after_the_verdict(programs: Programs, client: Client) -> None:
    start(programs)
    case = client.case("loops.test_waiting", "go")
    note = client.app.signature("loops.note", args=("o-1",), queue="celery")
    result = chain(case.trigger.s("o-1", 7), note).apply_async()
    wait_claimed(client, case, 1)
    assert not result.ready()
    case.go.send(7, key="o-1", force=True)
    assert result.get(timeout=30) == "o-1: PASS"
    assert result.parent.get(timeout=5) == "PASS"


def test_failure_is_the_result_of_the_task(programs: Programs, client: Client) -> None:
    start(programs)
    case = client.case("loops.test_waiting", "go")
    result = case.trigger.delay("o-1", 7)
    case.go.send(8, key="o-1", force=True)
    assert result.get(timeout=30) == "FAIL"
    assert "= 8, number = 7" in str(report_of(case, "o-1").error)


@pytest.mark.promise(
    "A worker that stops hands tests of the asyncio face back, wherever their coroutines are.", theme="aio"
)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", ["waiting", "sleeping"])
def test_stopping_worker_hands_its_tests_back(programs: Programs, client: Client, pool: str, kind: str) -> None:
    worker = start(programs, pool)
    case = client.case(f"loops.test_{kind}", "go")
    test = case.trigger("o-1")
    client.wait_claimed(case, test.id)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait_exit(timeout=20) == 0
    record = client.record(case, test.id)
    assert "lease_until" not in record, record
    assert reports_of(case) == []


def test_worker_that_is_told_to_quit_hands_its_tests_back(programs: Programs, client: Client) -> None:
    worker = start(programs)
    case = client.case("loops.test_sleeping")
    test = case.trigger("o-1")
    client.wait_claimed(case, test.id)
    os.kill(worker.pid, signal.SIGQUIT)
    worker.wait_exit(timeout=20)
    record = client.record(case, test.id)
    assert "lease_until" not in record, record
    assert reports_of(case) == []


def test_another_worker_runs_a_test_that_was_handed_back(programs: Programs, client: Client) -> None:
    worker = start(programs)
    case = client.case("loops.test_waiting", "go")
    result = case.trigger.delay("o-1", 7)
    token = client.wait_claimed(case, "o-1")
    os.kill(worker.pid, signal.SIGTERM)
    start(programs)
    client.wait_claimed(case, "o-1", unlike=token)
    case.go.send(7, key="o-1", force=True)
    assert result.get(timeout=30) == "PASS"


def test_tests_of_a_killed_worker_run_again(programs: Programs, client: Client) -> None:
    worker = start(programs, LIVECHECK_RECOVER_WITHIN="3")
    case = client.case("loops.test_waiting", "go")
    case.trigger("o-1", 7)
    token = client.wait_claimed(case, "o-1")
    worker.kill()
    start(programs, LIVECHECK_RECOVER_WITHIN="3")
    programs.start("celery -A loops beat", LIVECHECK_RECOVER_WITHIN="3")
    client.wait_claimed(case, "o-1", unlike=token)
    case.go.send(7, key="o-1", force=True)
    assert report_of(case, "o-1").state is State.PASS


def test_coroutine_past_its_max_runtime_is_a_timeout(programs: Programs, client: Client) -> None:
    start(programs)
    case = client.case("loops.test_limited")
    case.trigger("o-1")
    report = report_of(case, "o-1")
    assert report.state is State.TIMEOUT
    assert "run() was stopped after 1." in str(report.error)


def test_fake_request_is_made_on_the_event_loop(programs: Programs, client: Client) -> None:
    start(programs)
    programs.start("celery -A loops beat")
    case = client.case("loops.test_faked")
    report = wait_until(lambda: reports_of(case), 30, "a report")[0]
    assert report.state is State.PASS
    assert report.test is not None
    assert report.test.synthetic


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_tests_without_a_place_on_the_loop_hold_no_slot(programs: Programs, client: Client, pool: str) -> None:
    start(programs, pool, LIVECHECK_ASYNC_CONCURRENCY="3")
    case, other = client.case("loops.test_waiting", "go"), client.case("loops.test_in_thread")
    results = [case.trigger.delay(f"o-{number}", number) for number in range(12)]
    wait_claimed(client, case, 3)
    assert [other.trigger.delay().get(timeout=30) for _ in range(SLOTS + 1)] == ["PASS"] * (SLOTS + 1)
    assert claimed(client, case) == 3
    for number in range(12):
        case.go.send(number, key=f"o-{number}", force=True)
    assert [result.get(timeout=30) for result in results] == ["PASS"] * 12


def test_number_of_tests_on_the_loops_of_processes_is_bounded(programs: Programs, client: Client) -> None:
    start(programs, "prefork", LIVECHECK_ASYNC_CONCURRENCY="3")
    case = client.case("loops.test_waiting", "go")
    results = [case.trigger.delay(f"o-{number}", number) for number in range(12)]
    # Each process has a test that waits for a place, so all places are taken.
    wait_until(lambda: len(client.inspect("active")) == SLOTS, 20, "a full worker")
    wait_claimed(client, case, 3 * SLOTS)
    assert claimed(client, case) == 3 * SLOTS
    for number in range(12):
        case.go.send(number, key=f"o-{number}", force=True)
    assert [result.get(timeout=30) for result in results] == ["PASS"] * 12


def test_process_that_ends_after_its_last_task_hands_its_tests_back(programs: Programs, client: Client) -> None:
    start(programs, "prefork --max-tasks-per-child 1", LIVECHECK_SHUTDOWN_TIMEOUT="1")
    case = client.case("loops.test_waiting", "go")
    result = case.trigger.delay("o-1", 7)
    token = client.wait_claimed(case, "o-1")
    client.wait_claimed(case, "o-1", unlike=token)
    case.go.send(7, key="o-1", force=True)
    assert result.get(timeout=30) == "PASS"
