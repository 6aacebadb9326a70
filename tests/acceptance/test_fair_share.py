"""The slots of a worker are shared: a case that outsiders flood keeps out neither others nor its own fake requests."""

from __future__ import annotations

import pytest

from livecheck_celery import Case, State
from livecheck_celery.store import executions
from livecheck_celery.store.counters import PUT_OFF, RESENT
from tests.helpers.livecheck_client import Client, report_of, reports_of, send_all
from tests.helpers.programs import Program, Programs
from tests.helpers.waiting import wait_until

SLOTS, FLOOD, FAKES = 20, 300, 8
FEW, WAITING = 4, 12


def of_fake_requests(case: Case) -> list[State]:
    """Return the verdicts of the tests of fake requests."""
    return [one.state for one in reports_of(case) if one.test and one.test.synthetic]


def wait_for_fake_requests(case: Case) -> None:
    """Wait for tests of some fake requests, which pass."""
    verdicts = wait_until(lambda: of_fake_requests(case)[FAKES - 1 :] and of_fake_requests(case), 60)
    assert set(verdicts) == {State.PASS}


def flood(client: Client, count: int) -> Case:
    """Trigger tests that wait, with the ids ``0`` to ``count - 1``."""
    case = client.case("flooded", "go")
    for number in range(count):
        case.trigger(str(number))
    return case


def release(case: Case, count: int) -> None:
    """Send the signal of all tests of `flood`, and wait until they have passed."""
    for number in range(count):
        send_all(case, str(number), "go")
    for number in range(count):
        assert report_of(case, str(number), 40.0).state is State.PASS


def claimed(client: Client, case: Case, count: int) -> list[str]:
    """Return the ids of the tests of `flood` that are claimed, without a verdict."""
    return [each for each in map(str, range(count)) if "token" in client.record(case, each)]


@pytest.mark.promise(
    "Tests that outsiders cause, and that never end, keep out neither other cases nor fake requests.", theme="bounds"
)
def test_flooded_case_leaves_slots_to_fake_requests(programs: Programs, client: Client) -> None:
    programs.start_worker(f"celery -A shares worker -Q livecheck,livecheck.schedule -P threads -c {SLOTS}")
    flood(client, FLOOD)
    flooded, other = client.case("flooded", "go"), client.case("other", "go")

    def running() -> int:
        return sum(one["name"] == "livecheck.execute" for one in client.inspect("active"))

    wait_until(lambda: running() >= SLOTS - SLOTS // 10, 20, "a full worker")
    programs.start("celery -A shares beat")
    for case in (other, flooded):
        wait_for_fake_requests(case)
    assert client.store.executions.open_count("flooded") >= FLOOD
    assert running() >= SLOTS - SLOTS // 10
    counts = client.store.counters.read().counts
    assert not counts.get(PUT_OFF), "all wait in the worker"
    assert not counts.get(RESENT), "and have one message each"


def test_flooded_case_leaves_places_of_the_event_loop_to_fake_requests(programs: Programs, client: Client) -> None:
    command = f"celery -A shares worker -Q livecheck,livecheck.schedule -P threads -c {SLOTS}"
    programs.start_worker(command, LIVECHECK_ASYNC_CONCURRENCY=str(SLOTS), SHARES_FACE="aio")
    flooded, other = client.case("flooded", "go"), client.case("other", "go")
    for number in range(FLOOD):
        flooded.trigger(str(number))
    full = SLOTS - SLOTS // 10
    wait_until(lambda: len(claimed(client, flooded, FLOOD)) >= full, 20, "a full event loop")
    programs.start("celery -A shares beat", SHARES_FACE="aio")
    for case in (other, flooded):
        wait_for_fake_requests(case)
    assert len(claimed(client, flooded, FLOOD)) >= full


# -- tests that wait in a worker; no beat runs, so no sweep sends them


def start(programs: Programs, name: str, pool: str) -> Program:
    return programs.start_worker(f"celery -A shares worker -Q livecheck -P {pool} -c {FEW} -n {name}@%h")


@pytest.mark.promise(
    "A slot that becomes free has the next test at once, of the case with the fewest, on threads, gevent and prefork.",
    theme="bounds",
)
@pytest.mark.parametrize("pool", ["threads", "gevent", "prefork"])
def test_free_slot_has_a_test_of_another_case_next(programs: Programs, client: Client, pool: str) -> None:
    start(programs, "only", pool)
    flooded, other = flood(client, WAITING), client.case("other", "go")
    wait_until(lambda: len(claimed(client, flooded, WAITING)) == FEW, what="a full worker")
    for number in range(WAITING):
        send_all(other, str(number), "go")
        other.trigger(str(number))
    wait_until(lambda: client.store.client.llen("livecheck") == 0, what="an empty queue")
    assert not reports_of(other)
    begun = claimed(client, flooded, WAITING)
    send_all(flooded, begun[0], "go")
    for number in range(WAITING):
        assert report_of(other, str(number)).state is State.PASS
    wait_until(lambda: set(claimed(client, flooded, WAITING)) - set(begun), what="another test of the flooded case")
    assert flooded.total_by_state == {State.PASS: 1}
    release(flooded, WAITING)
    assert flooded.total_by_state == other.total_by_state == {State.PASS: WAITING}


@pytest.mark.parametrize("pool", ["threads", "gevent", "prefork"])
def test_stopped_worker_hands_back_tests_that_wait(programs: Programs, client: Client, pool: str) -> None:
    first = start(programs, "first", pool)
    case = flood(client, WAITING)
    wait_until(lambda: len(claimed(client, case, WAITING)) == FEW, what="a full worker")
    wait_until(lambda: client.store.client.llen("livecheck") == 0, what="an empty queue")
    start(programs, "second", "threads")
    first.terminate()
    assert first.wait_exit(10.0) == 0
    release(case, WAITING)
    assert case.total_by_state == {State.PASS: WAITING}


@pytest.mark.promise("Each of hundreds of tests that wait for a slot has one message.", theme="recovery")
def test_waiting_tests_have_one_message_each(
    programs: Programs, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "RESEND_AFTER", 1.0)
    for queue in ("livecheck", "livecheck.schedule"):  # the tests take all slots, and the sweep needs one
        command = f"celery -A shares worker -Q {queue} -P threads -c {FEW} -n {queue}@%h"
        programs.start_worker(command, SHARES_ALONE="1")
    case = flood(client, FLOOD)
    programs.start("celery -A shares beat", SHARES_ALONE="1")
    last = str(FLOOD - 1)
    wait_until(lambda: client.record(case, last).get("sends"), 30.0, "a sweep that has looked at the last one")
    release(case, FLOOD)
    assert case.total_by_state == {State.PASS: FLOOD}
    counts = client.store.counters.read().counts
    assert not {"messages sent again", "tests put off"} & counts.keys(), counts


def test_tests_that_waited_in_a_killed_worker_are_sent_again(
    programs: Programs, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "RESEND_AFTER", 1.0)
    first = start(programs, "first", "threads")
    case = flood(client, WAITING)
    wait_until(lambda: len(claimed(client, case, WAITING)) == FEW, what="a full worker")
    wait_until(lambda: client.store.client.llen("livecheck") == 0, what="an empty queue")
    first.kill()
    programs.start("celery -A shares beat")
    programs.start_worker(f"celery -A shares worker -Q livecheck,livecheck.schedule -P threads -c {SLOTS}")
    release(case, WAITING)
    tested = [one for one in reports_of(case) if one.test and not one.test.synthetic]
    assert len(tested) == WAITING
