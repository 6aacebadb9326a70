"""Whatever happens to workers and messages, each test has one verdict in the end."""

from __future__ import annotations

import pytest
from clients import Client, report_of
from programs import Program, Programs
from support import wait_until

from livecheck_celery import Case, State, TestExecution
from livecheck_celery.store import ledger


def start(programs: Programs, name: str, pool: str = "-P threads -c 10", **env: str) -> Program:
    command = f"celery -A mortal worker -Q livecheck,livecheck.schedule {pool} -n {name}@%h"
    return programs.start_worker(command, **env)


def waiting_test(client: Client, kind: str) -> TestExecution:
    """A test that a worker has, waiting for its second signal."""
    case = client.case(f"mortal.test_{kind}", "early", "go")
    test = case.trigger()
    client.wait_claimed(test)
    case.early.send("early", key=test.id, force=True)
    return test


def finish(case: Case, test: TestExecution) -> None:
    """Send what the test waits for; it is to pass, and to count once."""
    case.go.send("go", key=test.id, force=True)
    assert report_of(case, test.id).state is State.PASS
    assert case.total_by_state == {State.PASS: 1}


def test_a_test_whose_worker_was_killed_is_run_by_another(programs: Programs, client: Client) -> None:
    programs.start("celery -A mortal beat")
    first = start(programs, "first", MORTAL_LEASE="1")
    tests = [waiting_test(client, kind) for kind in ("plain", "async")]
    first.kill()
    second = start(programs, "second", MORTAL_LEASE="1")
    for test in tests:
        wait_until(lambda test=test: client.record(test)["attempts"] == "2", 20, "a second attempt")
        finish(client.livecheck.cases[test.case_name], test)
    assert second.output().count(": PASS in") == 2


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_worker_that_is_stopped_hands_its_tests_to_another(programs: Programs, client: Client, pool: str) -> None:
    first = start(programs, "first", f"-P {pool} -c 10")
    tests = [waiting_test(client, kind) for kind in (["plain"] if pool == "solo" else ["plain", "async"])]
    tokens = {test.id: client.record(test)["token"] for test in tests}
    second = start(programs, "second")
    first.terminate()
    assert first.wait_exit(5.0) == 0
    for test in tests:
        wait_until(lambda test=test: client.record(test).get("token", tokens[test.id]) != tokens[test.id])
        finish(client.livecheck.cases[test.case_name], test)
    assert second.output().count(": PASS in") == len(tests)


def test_a_worker_that_is_stopped_hands_back_what_it_had_not_begun(programs: Programs, client: Client) -> None:
    first = start(programs, "first", "-P threads -c 1")
    running = waiting_test(client, "plain")
    case = client.livecheck.cases[running.case_name]
    others = [case.trigger() for _ in range(3)]
    first.wait_for("Task livecheck.execute", count=2)
    first.terminate()
    assert first.wait_exit(5.0) == 0
    start(programs, "second")
    for test in (running, *others):
        case.early.send("early", key=test.id, force=True)
        case.go.send("go", key=test.id, force=True)
        assert report_of(case, test.id).state is State.PASS
    assert case.total_by_state == {State.PASS: 4}


def test_a_message_that_got_lost_is_sent_again(
    programs: Programs, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RESEND_AFTER", 1.0)
    case = client.case("mortal.test_plain", "early", "go")
    test = case.trigger()
    assert client.store.client.delete("livecheck") == 1
    start(programs, "only")
    programs.start("celery -A mortal beat")
    case.early.send("early", key=test.id, force=True)
    finish(case, test)


def test_a_test_that_kills_every_worker_is_an_error_in_the_end(programs: Programs, client: Client) -> None:
    test = client.case("mortal.test_plain").trigger()
    programs.start("celery -A mortal beat")
    for attempt in ("1", "2", "3"):
        worker = start(programs, f"number-{attempt}", MORTAL_LEASE="1")
        wait_until(lambda attempt=attempt: client.record(test).get("attempts") == attempt, 20, f"attempt {attempt}")
        worker.kill()
    start(programs, "last", MORTAL_LEASE="1")
    case = client.case("mortal.test_plain")
    report = report_of(case, test.id)
    assert (report.state, report.error) == (State.ERROR, "worker lost: it stopped without a verdict")
    assert case.status is State.ERROR
