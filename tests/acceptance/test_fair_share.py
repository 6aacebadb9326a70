"""The slots of a worker are shared: a case that outsiders flood keeps out neither others nor its own fake requests."""

from __future__ import annotations

import pytest

from livecheck_celery import Case, State
from tests.helpers.livecheck_client import Client, reports_of
from tests.helpers.programs import Programs
from tests.helpers.waiting import wait_until

SLOTS, FLOOD = 20, 200


def fake_requests(case: Case) -> list[tuple[float, State]]:
    """Return the seconds from the trigger to the verdict, and the verdict, of each test of a fake request."""
    tests = [(one, one.test) for one in reports_of(case) if one.test and one.test.synthetic]
    return [((one.at or 0.0) - test.timestamp.timestamp(), one.state) for one, test in tests]


@pytest.mark.promise(
    "Tests that outsiders cause, and that never end, keep out neither other cases nor fake requests.", theme="bounds"
)
def test_flooded_case_leaves_slots_to_fake_requests(programs: Programs, client: Client) -> None:
    programs.start_worker(f"celery -A shares worker -Q livecheck,livecheck.schedule -P threads -c {SLOTS}")
    flooded, other = client.case("flooded", "go"), client.case("other", "go")
    for number in range(FLOOD):
        flooded.trigger(f"outsider-{number}")

    def running() -> int:
        return sum(one["name"] == "livecheck.execute" for one in client.inspect("active"))

    wait_until(lambda: running() >= SLOTS - SLOTS // 5, 20, "a full worker")
    programs.start("celery -A shares beat")
    for case in (other, flooded):
        for took, state in wait_until(lambda case=case: fake_requests(case)[7:] and fake_requests(case), 60):
            assert (state, took < 5.0) == (State.PASS, True)
    assert client.store.executions.open_count("flooded") >= FLOOD
    assert running() >= SLOTS - SLOTS // 5
    assert client.store.counters.read().counts["tests put off"] >= FLOOD - SLOTS
