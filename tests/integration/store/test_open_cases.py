"""The index of the cases with executions without a verdict, in which the sweep of many cases finds those to look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livecheck_celery.models import State
from livecheck_celery.store import Store, open_cases
from livecheck_celery.store.open_cases import LOOK_AT
from livecheck_celery.store.schedule_runs import Window
from tests.helpers import executions
from tests.helpers.factories import make_settings, make_test
from tests.helpers.redis_clients import calls

NAMES = [f"shop.test_{number:05}" for number in range(10_000)]
LAST = NAMES[-1]
TURNS = -(-len(NAMES) // LOOK_AT)


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    store = Store(make_settings(redis_url))
    yield store
    store.client.flushall()
    store.client.close()


def due(store: Store) -> list[str]:
    """Make a pass of the sweep."""
    return store.executions.open_cases.due(NAMES).executions


def make_due(store: Store, name: str) -> None:
    store.client.zadd(store.keys.open(name), {"id-1": 1.0}, xx=True)


def indexed(store: Store) -> list[str]:
    return store.client.zrange(store.keys.open_cases, 0, -1)


@pytest.mark.promise("A pass of recovery over 10,000 idle cases costs as much as one over 60.", theme="recovery")
def test_pass_over_many_idle_cases_sends_few_commands(store: Store) -> None:
    due(store)  # connects, and loads the scripts
    before = calls(store.client)
    assert due(store) == []
    # A script of three commands, and one for each of the cases in turn.
    assert calls(store.client) - before == 1 + 3 + LOOK_AT


def test_passes_of_several_workers_look_at_all_cases_in_turn(store: Store) -> None:
    another = Store(make_settings(store.settings.redis_url), store.client)
    for number, name in enumerate(NAMES):
        store.client.zadd(store.keys.open(name), {"id-1": 1.0 if number % LOOK_AT == 0 else 9e9})
    found = [due((store, another)[turn % 2]) for turn in range(TURNS)]
    assert [len(names) for names in found] == list(range(1, TURNS + 1))


def test_passes_over_the_cases_of_two_livechecks_take_turns_of_their_own(store: Store) -> None:
    """Both at each beat: with one count of the passes, one of them would have the even turns."""
    ours, theirs = NAMES[: 4 * LOOK_AT], NAMES[4 * LOOK_AT : 8 * LOOK_AT]
    for name in ours:
        store.client.zadd(store.keys.open(name), {"id-1": 9e9})
    for _ in range(4):
        for names in (ours, theirs):
            store.executions.open_cases.due(names)
    assert set(indexed(store)) == set(ours)


def test_index_of_all_cases_shrinks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_cases, "STAYS", 0.0)
    store.executions.open_cases.note(NAMES)
    due(store)
    assert indexed(store) == []


def test_run_of_a_dead_worker_is_found_in_each_pass(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_cases, "STAYS", 0.0)
    assert store.schedule_runs.claim(LAST, Window(60.0, 1.0), token="dead", lease=9.0)
    for _ in range(3):
        assert store.executions.open_cases.due(NAMES, {LAST, NAMES[0]}).runs == [LAST]
    assert store.schedule_runs.finish(LAST, "dead")
    store.executions.open_cases.due(NAMES, {LAST})
    assert indexed(store) == []


def test_run_that_was_not_noted_is_found_in_turn(store: Store) -> None:
    assert store.schedule_runs.claim(LAST, Window(60.0, 1.0), token="dead", lease=9.0)
    store.client.delete(store.keys.open_cases)
    found = [turn for turn in range(TURNS) if store.executions.open_cases.due(NAMES, {LAST}).runs]
    assert found == [TURNS - 1]


def test_pass_over_many_schedules_without_a_run_sends_few_commands(store: Store) -> None:
    store.executions.open_cases.due(NAMES, NAMES)
    before = calls(store.client)
    assert store.executions.open_cases.due(NAMES, NAMES) == ([], [])
    assert calls(store.client) - before == 1 + 3 + 2 * LOOK_AT


@pytest.mark.parametrize("how", ["recorded", "in a batch", "claimed"])
def test_due_execution_of_one_case_of_many_is_found_in_each_pass(store: Store, how: str) -> None:
    test = make_test(case_name=LAST)
    if how == "recorded":
        store.executions.record(test, expires_in=60)
    elif how == "claimed":  # a message of a chain: nobody has recorded it
        executions.claim(store, test)
    else:
        with store.batch() as batch:
            batch.record(test, expires_in=60)
    assert due(store) == []
    make_due(store, LAST)
    for _ in range(3):
        assert due(store) == [LAST]


def test_execution_that_was_not_noted_is_found_in_turn_and_then_in_each_pass(store: Store) -> None:
    store.executions.record(make_test(case_name=LAST), expires_in=60)
    make_due(store, LAST)
    store.client.delete(store.keys.open_cases)  # as after a crash between the two
    another = Store(make_settings(store.settings.redis_url), store.client)  # which has noted nothing
    found = [turn for turn in range(TURNS) if due(another)]
    assert found == [TURNS - 1]
    assert due(another) == [LAST]


def test_case_without_executions_leaves_the_index_after_a_minute(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (LAST, NAMES[0]):
        store.executions.record(make_test(case_name=name), expires_in=60)
    executions.claim(store, make_test(case_name=LAST))
    executions.judge(store, make_test(case_name=LAST), State.PASS)
    due(store)
    assert set(indexed(store)) == {LAST, NAMES[0]}, "a record can be under way"
    monkeypatch.setattr(open_cases, "STAYS", 0.0)
    due(store)
    assert indexed(store) == [NAMES[0]]


def test_case_is_noted_again_before_it_can_leave(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * open_cases.NOTE_EVERY < open_cases.STAYS
    noted = []
    for number, every in enumerate((15.0, 15.0, 0.0)):
        monkeypatch.setattr(open_cases, "NOTE_EVERY", every)
        store.executions.record(make_test(str(number), LAST), expires_in=60)
        noted.append(store.client.zscore(store.keys.open_cases, LAST))
    assert noted[0] == noted[1] < noted[2]


def test_cases_are_noted_again_after_a_data_loss(store: Store) -> None:
    store.executions.record(make_test("1", LAST), expires_in=60)
    store.client.flushall()
    store.executions.record(make_test("2", LAST), expires_in=60)
    assert indexed(store) == [], "it was noted a moment ago"
    store.executions.open_cases.note_again()
    assert indexed(store) == [LAST]


def test_index_that_cannot_be_written_delays_no_record(store: Store) -> None:
    store.client.set(store.keys.open_cases, "another program's")
    store.executions.record(make_test(case_name=LAST), expires_in=60)
    make_due(store, LAST)
    assert due(store) == [LAST], "it looks at all"


def test_forgotten_case_leaves_the_index(store: Store) -> None:
    store.executions.record(make_test(case_name=LAST), expires_in=60)
    store.registry.forget(LAST, [])
    assert indexed(store) == []
