"""Tests run alike in every pool, many at a time, and always know which one they are."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from clients import Client
from programs import Programs, copy_config

from livecheck_celery import State

SLOTS = {"threads": 25, "gevent": 25, "prefork": 2, "solo": 1}


@pytest.fixture(scope="module", params=SLOTS)
def slots(request: pytest.FixtureRequest, shared_programs: Programs) -> Iterator[int]:
    """Tests that a worker of some pool runs at a time."""
    pool, slots = request.param, SLOTS[request.param]
    imports = ("livecheck_celery.worker", "checks")
    # Celery takes -P prefork, its default, for no choice at all where worker_pool says something else.
    directory = copy_config(shared_programs.directory / pool, imports=imports, worker_pool=pool)
    worker = shared_programs.start_worker(f"celery -A livecheck_celery worker -P {pool} -c {slots}", cwd=directory)
    yield slots
    worker.terminate()
    assert worker.wait_exit() == 0


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_tests_that_wait_side_by_side_do_not_mix(slots: int, client: Client, kind: str) -> None:
    client.run_together([client.case(f"checks.test_{kind}", "go")] * slots)


def test_plain_and_async_tests_wait_side_by_side(slots: int, client: Client) -> None:
    if slots == 1:
        pytest.skip("one at a time")
    cases = [client.case("checks.test_plain", "go"), client.case("checks.test_async", "go")] * (slots // 2)
    client.run_together(cases)


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_signal_that_is_early_is_not_lost(slots: int, client: Client, kind: str) -> None:
    case, name = client.case(f"checks.test_{kind}", "go"), uuid4().hex
    case.go.send(name, key=name, force=True)
    case.app.outbox.flush()
    assert client.report(case.trigger(name, name)).state is State.PASS


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_signal_that_never_comes_is_a_timeout(slots: int, client: Client, kind: str) -> None:
    report = client.report(client.case(f"checks.test_{kind}", "go").trigger("late", "late", timeout=0.5))
    assert report.state is State.TIMEOUT
    assert report.error == "signal go (1 of 1) did not arrive within 0.5 s; no signal has arrived"
    assert report.runtime == pytest.approx(0.5, abs=0.4)
