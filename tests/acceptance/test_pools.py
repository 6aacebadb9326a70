"""Tests run in every pool, concurrently, and each has its own context."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from livecheck_celery import State
from tests.helpers.livecheck_client import Client, report_of
from tests.helpers.programs import Program, Programs, copy_config

#: Two of the 27 are left free for the fake requests of `checks`.
SLOTS = {"threads": 27, "gevent": 27, "prefork": 2, "solo": 1}
TOGETHER = {"threads": 25, "gevent": 25, "prefork": 2, "solo": 1}


@pytest.fixture(scope="module", params=SLOTS)
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def slots(pool: str) -> int:
    """The number of slots of the worker."""
    return SLOTS[pool]


@pytest.fixture(scope="module")
def together(pool: str) -> int:
    """The number of tests that the worker runs concurrently, of cases that outsiders can flood."""
    return TOGETHER[pool]


@pytest.fixture(scope="module", autouse=True)
def worker(pool: str, slots: int, shared_programs: Programs) -> Iterator[Program]:
    """A worker with the pool."""
    command = f"celery -A livecheck_celery worker -P {pool} -c {slots}"
    if pool == "prefork":
        # Celery ignores -P prefork, its default, if worker_pool is set.
        directory = copy_config(shared_programs.directory / pool, worker_pool=pool)
        worker = shared_programs.start_worker(command, cwd=directory, LIVECHECK_CASES="checks")
    else:
        worker = shared_programs.start_worker(command, LIVECHECK_CASES="checks")
    assert f"concurrency: {slots} ({pool.removesuffix('s')})" in worker.output()
    yield worker
    worker.terminate()
    assert worker.wait_exit() == 0


@pytest.mark.promise(
    "Tests run on threads, gevent, solo and prefork, as `def` and `async def`, side by side.",
    theme="cases",
)
@pytest.mark.parametrize("kinds", [["plain"], ["async"], ["plain", "async"]], ids="-and-".join)
def test_concurrent_tests_do_not_mix(together: int, client: Client, kinds: list[str]) -> None:
    cases = [client.case(f"checks.test_{kind}", "go") for kind in kinds]
    client.run_together((cases * together)[:together])


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_signal_sent_before_the_trigger_is_received(slots: int, client: Client, kind: str) -> None:
    case, name = client.case(f"checks.test_{kind}", "go"), uuid4().hex
    case.go.send(name, key=name, force=True)
    case.app.runtime.outbox.flush()
    case.trigger(name, name)
    assert report_of(case, name).state is State.PASS


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_missing_signal_is_a_timeout(slots: int, client: Client, kind: str) -> None:
    case, name = client.case(f"checks.test_{kind}", "go"), uuid4().hex
    case.trigger(name, name, within=0.5)
    report = report_of(case, name)
    assert report.state is State.TIMEOUT
    assert report.error == "signal go (1 of 1) did not arrive within 0.5 s; no signal has arrived"
    assert 0.4 < report.runtime < 3.0


@pytest.mark.parametrize("how", ["SystemExit", "KeyboardInterrupt"])
def test_run_that_exits_is_an_error_and_the_worker_continues(client: Client, how: str) -> None:
    for kind in ("ending", "ending_async"):
        case = client.case(f"checks.test_{kind}")
        report = report_of(case, case.trigger(how=how).id)
        assert report.state is State.ERROR
        assert report.error.startswith(how)
        assert "(checks.py:" in report.error
    for kind in ("plain", "async"):
        client.run_together([client.case(f"checks.test_{kind}", "go")])


@pytest.mark.promise(
    "The worker logs which test still holds a slot after its TIMEOUT, and at which line of code.",
    theme="recovery",
)
def test_overrunning_test_is_a_timeout_and_is_logged(worker: Program, slots: int, client: Client) -> None:
    case = client.case("checks.test_stubborn")
    test = case.trigger()
    report = report_of(case, test.id)
    assert report.state is State.TIMEOUT
    assert str(report.error).startswith("run() was still running after 0.5 s")
    assert report.runtime < 3.0, "the verdict does not wait for run()"
    worker.wait_for(f"{test.ident} has its verdict but still holds a slot")
    worker.wait_for(f"{test.ident}: run() has returned; its slot is free again")
