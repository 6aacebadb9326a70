"""The fair share of a worker's slots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.exceptions import Ignore

from livecheck_celery import Case, LiveCheck
from livecheck_celery.delivery.publisher import CASE_KEYWORD, TEST_KEYWORD
from livecheck_celery.models import State
from livecheck_celery.store import Store
from livecheck_celery.store.counters import PUT_OFF, RESENT
from livecheck_celery.tasks.fair_share import FairShare, Party
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.recovery import sweep
from tests.helpers.executions import claim
from tests.helpers.factories import CASE, make_report, make_test

A, B, FAKE = ("a", False), ("b", False), ("a", True)


def allowed(slots: int, running: dict[Party, int], party: Party, parties: int) -> bool:
    """Return whether one more test of ``party`` may run beside those that are running."""
    share = FairShare()
    share.slots = slots
    with ExitStack() as stack:
        for one in [each for each, count in running.items() for _ in range(count)]:
            stack.enter_context(share.running(one))
        with share.running(party):
            return share.allows(party, lambda: parties)


@pytest.mark.parametrize(
    ("slots", "running", "party", "parties", "allows"),
    [
        (100, {A: 99}, A, 1, True),  # alone
        (100, {A: 79}, A, 2, True),
        (100, {A: 80}, A, 2, False),
        (100, {A: 80}, B, 2, True),
        (100, {A: 80, B: 19}, B, 2, True),
        (100, {A: 80}, FAKE, 2, True),
        (100, {A: 49, B: 50}, A, 2, True),  # exactly its share
        (100, {A: 50, B: 49}, A, 2, False),
        (100, {A: 80}, B, 10_000, False),  # over its share of 0.01 slots, as every test is
        (100, {A: 20}, B, 10_000, True),
        (4, {A: 3}, A, 2, True),  # too few to reserve one
        (5, {A: 4}, A, 2, False),
        (0, {A: 500}, A, 2, True),  # not a worker
    ],
)
def test_case_over_its_share_leaves_a_fifth_of_the_slots(
    slots: int, running: dict[Party, int], party: Party, parties: int, allows: bool
) -> None:
    assert allowed(slots, running, party, parties) == allows


def test_slots_of_finished_tests_are_free_again() -> None:
    share = FairShare()
    share.slots = 5
    for _ in range(10):
        with share.running(A):
            assert share.allows(A, lambda: 2)
    assert not share._running


# -- tests that have to wait


@pytest.fixture
def case(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> Any:
    livecheck.add_case(Case, name="idle", active=False)
    case = livecheck.add_case(Case, name=CASE, frequency=1.0)

    def execute(test: Any) -> Any:
        return SimpleNamespace(handed_back=False, state=State.PASS, report=make_report(State.PASS, test))

    monkeypatch.setattr(case, "execute", execute)
    return case


@pytest.fixture
def full(livecheck: LiveCheck, case: Case) -> Iterator[Tasks]:
    """A worker with ten slots, eight of which have tests of the case."""
    tasks = Tasks([livecheck])
    tasks.worker_ready(SimpleNamespace(pool=None, concurrency=10))
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(tasks._share.running((CASE, False)))
        yield tasks


def execute(tasks: Tasks, test: Any) -> str:
    message = test.as_message() | {"recorded_at": test.recorded_at}
    return tasks.execute(**{CASE_KEYWORD: CASE, TEST_KEYWORD: message})


def test_test_over_the_share_waits_and_is_sent_again(
    full: Tasks, case: Case, livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(livecheck.runtime.publisher, "execute_all", lambda tests: sent.extend(t.id for t in tests))
    recorded = store.executions.record(make_test("waits"), expires_in=600)
    for seconds in (5, 10, 20):
        with pytest.raises(Ignore):
            execute(full, recorded)
        [(_, at)] = store.client.zrange(store.keys.open(CASE), 0, -1, withscores=True)
        assert at - store.time() == pytest.approx(seconds, abs=2)
        store.executions.make_due(CASE, ["waits"])
        sweep(case)
    assert sent == ["waits"] * 3
    counts = livecheck.runtime.outbox._uncounted
    assert (counts[PUT_OFF], counts[RESENT]) == (3, 0)


def test_tests_of_fake_requests_and_of_chains_do_not_wait(full: Tasks, store: Store) -> None:
    fake = store.executions.record(make_test("fake", synthetic=True), expires_in=600)
    assert execute(full, fake) == State.PASS
    assert execute(full, make_test("chained")) == State.PASS


def test_process_of_a_prefork_pool_reserves_no_slot(livecheck: LiveCheck, case: Case) -> None:
    tasks = Tasks([livecheck])
    tasks.worker_ready(SimpleNamespace(pool=ProcessPool.__new__(ProcessPool), concurrency=10))
    assert tasks._share.slots == 0


def test_only_an_execution_that_no_worker_runs_is_put_off(store: Store) -> None:
    assert not store.executions.put_off(make_test("unknown", recorded_at=1.0))
    recorded = store.executions.record(make_test(), expires_in=3)
    assert not store.executions.put_off(make_test(recorded_at=1.0))  # an earlier use of the id
    assert store.executions.put_off(recorded)
    [(_, at)] = store.client.zrange(store.keys.open(CASE), 0, -1, withscores=True)
    assert at - store.time() < 3  # the sweep closes it when it expires
    claim(store, recorded)
    assert not store.executions.put_off(recorded)
