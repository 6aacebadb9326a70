"""Workers and beats of the package's own app, as users start them."""

from __future__ import annotations

import pytest
from clients import Client
from programs import REPOSITORY, Programs
from support import wait_until

from livecheck_celery import State


def consumed(client: Client) -> set[str]:
    [queues] = client.inspect().active_queues().values()
    return {queue["name"] for queue in queues}


def run_many(client: Client, case_name: str, count: int) -> None:
    """Have ``count`` tests wait at the same time, then end."""
    case = client.case(case_name, "go")
    for number in range(count):
        case.trigger(str(number), number)
    client.wait_claimed(case, [str(number) for number in range(count)])
    for number in range(count):
        case.go.send(number, key=str(number), force=True)
    for number in range(count):
        report = client.report(case, str(number))
        assert (report.state, report.error) == (State.PASS, None)


@pytest.mark.parametrize("prefix", ["celery -A livecheck_celery", "celery"], ids=["named", "bare"])
def test_worker_and_beat_from_the_repositorys_root(programs: Programs, client: Client, prefix: str) -> None:
    programs.start(f"{prefix} beat", LIVECHECK_CASES="checks")
    worker = programs.worker(f"{prefix} worker", LIVECHECK_CASES="checks")
    assert consumed(client) == {"livecheck", "livecheck.schedule"}
    [stats] = client.inspect().stats().values()
    assert stats["pool"]["implementation"] == "celery.concurrency.thread:TaskPool"
    assert stats["pool"]["max-concurrency"] == 100
    run_many(client, "checks.test_threads", 30)
    faked = client.case("checks.test_faked", "asked")
    wait_until(lambda: faked.total_by_state[State.PASS] >= 2, what="two fake requests")
    assert set(faked.total_by_state) == {State.PASS}
    assert all(report.test.synthetic for report in client.reports(faked))
    worker.terminate()
    assert worker.wait_exit() == 0
