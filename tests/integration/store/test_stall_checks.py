"""The times of all stalled checks, by which a check of many cases looks only at the suites that can be stalled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livecheck_celery.models import State
from livecheck_celery.store import Store
from tests.helpers import executions
from tests.helpers.factories import make_settings, make_test
from tests.helpers.redis_clients import calls

MANY = {f"shop.test_{number:05}": 1800.0 for number in range(10_000)}
NAME = "shop.test_00007"


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    store = Store(make_settings(redis_url))
    yield store
    store.client.flushall()
    store.client.close()


def shift(store: Store, seconds: float, *names: str) -> None:
    """Move all that is known of these cases into the past, as if that time had passed without a check."""
    for name in names:
        suite = store.keys.suite(name)
        for field in ("expected_since", "received_at", "last_test_received", "checked_at"):
            if (at := store.client.hget(suite, field)) is not None:
                store.client.hset(suite, field, f"{float(at) - seconds:.6f}")
        is_hash = store.client.type(store.keys.checks) == "hash"
        if is_hash and (checked := store.client.hget(store.keys.checks, name)) is not None:
            moved = [f"{float(at) - seconds:.6f}" for at in checked.split()]
            store.client.hset(store.keys.checks, name, " ".join(moved))


def pass_time(store: Store, seconds: float, limits: dict[str, float | None]) -> dict[str, float]:
    """Let time pass with a check each 30 s; return what the last one reports."""
    found: dict[str, float] = {}
    while seconds > 0:
        shift(store, min(30.0, seconds), *limits)
        found = store.suites.stalled(limits)
        seconds -= 30.0
    return found


def status(store: Store, limit: float) -> State:
    return store.suites.statistics(NAME, stalled_after=limit).status


@pytest.mark.promise(
    "A stalled check of 10,000 cases, none of them due, sends forty Redis commands.", theme="schedules"
)
def test_check_of_many_cases_sends_few_commands(store: Store) -> None:
    store.suites.expect_tests(MANY)
    store.suites.stalled(MANY)
    before = calls(store.client)
    assert store.suites.stalled(MANY) == {}
    # Ten calls of a script, each of three commands.
    assert calls(store.client) - before == 10 * (1 + 3)


def test_start_of_a_worker_with_many_cases_that_others_check_sends_few_commands(store: Store) -> None:
    store.suites.expect_tests(MANY)
    store.suites.stalled(MANY)
    before = calls(store.client)
    Store(make_settings(store.settings.redis_url), store.client).suites.expect_tests(MANY)
    assert calls(store.client) - before == 10 * (1 + 3)


def test_new_case_is_expected_from_its_first_check_on(store: Store) -> None:
    store.suites.stalled({"another": 60.0})
    assert pass_time(store, 300.0, {"another": 600.0}) == {}
    assert store.suites.stalled({"another": 600.0, NAME: 60.0}) == {}
    assert pass_time(store, 60.0, {NAME: 60.1}) == {}
    assert pass_time(store, 1.0, {NAME: 60.1}) == {NAME: pytest.approx(61.0, abs=0.5)}


@pytest.mark.parametrize("limit", [20.0, 100.0])
def test_limit_that_was_changed_applies_at_the_next_check(store: Store, limit: float) -> None:
    store.suites.expect_tests({NAME: 1800.0})
    assert pass_time(store, 60.0, {NAME: 1800.0}) == {}
    found = store.suites.stalled({NAME: limit})
    assert found == ({NAME: pytest.approx(60.0, abs=0.5)} if limit < 60 else {})


def test_time_in_which_no_worker_checked_is_not_silence(store: Store) -> None:
    """The suite has the time of the last look at it, the index that of the last check."""
    store.suites.expect_tests({NAME: 120.0})
    assert pass_time(store, 90.0, {NAME: 120.0}) == {}
    shift(store, 3600.0, NAME)
    assert status(store, 120.0) is State.STALL, "no worker runs"
    store.suites.expect_tests({NAME: 120.0})
    assert status(store, 120.0) is State.INIT
    assert pass_time(store, 29.0, {NAME: 120.0}) == {}
    assert pass_time(store, 2.0, {NAME: 120.0}) == {NAME: pytest.approx(121.0, abs=0.5)}, "90 s before the pause"


def test_pause_is_subtracted_once_by_workers_that_start_together(store: Store) -> None:
    store.suites.expect_tests({NAME: 120.0})
    assert pass_time(store, 90.0, {NAME: 120.0}) == {}
    shift(store, 3600.0, NAME)
    before = store.client.hget(store.keys.checks, NAME)
    store.suites.expect_tests({NAME: 120.0})
    store.client.hset(store.keys.checks, NAME, before)  # as the second one has read it
    store.suites.expect_tests({NAME: 120.0})
    assert pass_time(store, 29.0, {NAME: 120.0}) == {}
    assert pass_time(store, 2.0, {NAME: 120.0}) == {NAME: pytest.approx(121.0, abs=0.5)}


def test_test_that_was_received_postpones_the_stall(store: Store) -> None:
    store.suites.expect_tests({NAME: 60.0})
    assert pass_time(store, 50.0, {NAME: 60.0}) == {}
    executions.claim(store, make_test(case_name=NAME))
    assert pass_time(store, 59.0, {NAME: 60.0}) == {}
    assert pass_time(store, 2.0, {NAME: 60.0}) == {NAME: pytest.approx(61.0, abs=0.5)}


def test_stall_is_reported_once_in_each_period(store: Store) -> None:
    store.suites.expect_tests({NAME: 60.0})
    reported = [bool(pass_time(store, 11.0, {NAME: 60.0})) for _ in range(13)]
    assert [at for at, stalled in enumerate(reported, start=1) if stalled] == [6, 12]


def test_stall_of_a_reactivated_case_is_measured_from_its_activation(store: Store) -> None:
    store.suites.expect_tests({NAME: 60.0})
    assert pass_time(store, 30.0, {NAME: 60.0}) == {}
    assert pass_time(store, 600.0, {NAME: None}) == {}
    assert status(store, 60.0) is State.INIT, "as soon as it is active again"
    assert pass_time(store, 59.0, {NAME: 60.0}) == {}
    assert pass_time(store, 2.0, {NAME: 60.0}) == {NAME: pytest.approx(61.0, abs=0.5)}


def test_worker_of_an_earlier_version_does_not_take_a_check_for_a_pause(store: Store) -> None:
    """It knows the checks only from the suites."""
    limits = {NAME: 1800.0}
    store.suites.expect_tests(limits)
    store.suites.stalled(limits)
    shift(store, 30.0, NAME)
    store.suites.stalled(limits)
    assert store.time() - float(store.client.hget(store.keys.suite(NAME), "checked_at")) == pytest.approx(30.0, abs=5)
    store.suites.stalled(limits, everything=True)
    assert store.time() - float(store.client.hget(store.keys.suite(NAME), "checked_at")) == pytest.approx(0.0, abs=5)


def test_check_of_a_worker_of_an_earlier_version_counts(store: Store) -> None:
    store.suites.expect_tests({NAME: 120.0})
    shift(store, 3600.0, NAME)
    now = store.time()  # it writes the suite alone
    store.client.hset(store.keys.suite(NAME), mapping={"checked_at": now - 20, "expected_since": now - 110})
    assert store.suites.stalled({NAME: 120.0}) == {}
    assert pass_time(store, 11.0, {NAME: 120.0}) == {NAME: pytest.approx(121.0, abs=0.5)}


@pytest.mark.parametrize("text", ["x", "1", "nan nan", "1 99999999999", "-5 3"])
def test_entry_that_cannot_be_read_is_as_none(store: Store, text: str) -> None:
    store.suites.expect_tests({NAME: 60.0})
    assert pass_time(store, 40.0, {NAME: 60.0}) == {}
    store.client.hset(store.keys.suite(NAME), "checked_at", store.time())
    store.client.hset(store.keys.checks, NAME, text)
    assert store.suites.stalled({NAME: 30.0}) == {NAME: pytest.approx(40.0, abs=0.5)}


def test_index_that_cannot_be_written_delays_no_report(store: Store) -> None:
    store.client.set(store.keys.checks, "another program's")
    store.suites.expect_tests({NAME: 60.0})
    assert pass_time(store, 59.0, {NAME: 60.0}) == {}
    assert pass_time(store, 2.0, {NAME: 60.0}) == {NAME: pytest.approx(61.0, abs=0.5)}


def test_forgotten_case_leaves_the_index(store: Store) -> None:
    store.suites.expect_tests({NAME: 60.0})
    store.registry.forget(NAME, [])
    assert store.client.hgetall(store.keys.checks) == {}
