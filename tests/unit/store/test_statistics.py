"""Statistics, parsed from the stored state of a suite."""

from collections import Counter

import pytest

from livecheck_celery.models import State
from livecheck_celery.store.statistics import read_statistics, read_status, stalled_after


def test_statistics_of_a_case_that_never_ran_are_empty() -> None:
    found = read_statistics(100.0, {}, [], [], [])
    assert found.status is State.INIT
    assert (
        found.last_test_received
        is found.seconds_since_last_test
        is found.last_fail
        is found.seconds_since_last_fail
        is None
    )
    assert found.consecutive_failures == found.total_failures == 0
    assert found.total_by_state == Counter()
    assert found.frequency_avg is found.latency_avg is found.runtime_avg is None


def test_stored_statistics_are_parsed() -> None:
    state = {
        "status": "FAIL",
        "last_test_received": "90.5",
        "received_at": "80.5",
        "last_fail": "95.25",
        "consecutive_failures": "2",
        "total_failures": "7",
        "total:PASS": "3",
        "total:TIMEOUT": "7",
        "tat": "101.0",
    }
    found = read_statistics(100.0, state, ["5.0"], ["-0.5", "0.5"], ["1", "2", "9"])
    assert found.status is State.FAIL
    assert (found.last_test_received, found.last_fail, found.seconds_since_last_fail) == (90.5, 95.25, 4.75)
    assert found.seconds_since_last_test == 19.5
    assert (found.consecutive_failures, found.total_failures) == (2, 7)
    assert found.total_by_state == {State.PASS: 3, State.TIMEOUT: 7}
    assert found.total_by_state[State.SKIP] == 0
    assert (found.frequency_history, found.latency_history, found.runtime_history) == ([5.0], [-0.5, 0.5], [1, 2, 9])


def test_averages_are_medians() -> None:
    found = read_statistics(0.0, {}, ["1", "3"], ["0.1", "0.2", "900"], ["1", "2", "3", "400"])
    assert (found.frequency_avg, found.latency_avg, found.runtime_avg) == (2.0, 0.2, 2.5)


def test_ages_are_not_negative_after_the_clock_was_set_back() -> None:
    found = read_statistics(90.0, {"last_fail": "95", "received_at": "95"}, [], [], [], stalled_after=0.0)
    assert (found.seconds_since_last_fail, found.seconds_since_last_test, found.status) == (0.0, 0.0, State.INIT)


@pytest.mark.parametrize(
    ("stored", "status"),
    [
        ({}, State.INIT),
        ({"expected_since": "90"}, State.INIT),
        ({"expected_since": "89"}, State.STALL),
        ({"expected_since": "10", "received_at": "90", "status": "FAIL"}, State.FAIL),
        ({"expected_since": "10", "received_at": "89", "status": "PASS"}, State.STALL),
        ({"expected_since": "10", "received_at": "89", "status": "FAIL"}, State.STALL),
        ({"expected_since": "90", "received_at": "10", "status": "PASS"}, State.PASS),
        ({"received_at": "89", "last_test_received": "99", "status": "PASS"}, State.STALL),
        ({"received_at": "99", "status": "STALL"}, State.STALL),
    ],
    ids=str,
)
def test_status_is_stall_when_tests_are_overdue(stored: dict[str, str], status: State) -> None:
    assert read_status(100.0, stored, 10.0) is status


def test_inactive_case_never_stalls() -> None:
    assert stalled_after({"active": False, "warn_stalled_after": 10.0}) is None
    assert stalled_after({"active": True, "warn_stalled_after": 10}) == 10.0
    assert stalled_after({"warn_stalled_after": "?"}) is stalled_after({}) is None
    assert read_status(100.0, {"received_at": "1", "status": "PASS"}, None) is State.PASS


@pytest.mark.parametrize("state", [{"status": "FINE"}, {"last_fail": "noon"}, {"total:FINE": "1"}, {"total:PASS": "x"}])
def test_unreadable_statistics_are_an_error(state: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        read_statistics(0.0, state, [], [], [])
