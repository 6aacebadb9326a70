"""What is stored about a suite, as people read it."""

from collections import Counter

import pytest

from livecheck_celery.models import State
from livecheck_celery.store.statistics import read_statistics


def test_a_case_that_never_ran_is_init_and_empty() -> None:
    found = read_statistics(100.0, {}, [], [], [])
    assert found.status is State.INIT
    assert found.last_test_received is found.last_fail is found.seconds_since_last_fail is None
    assert found.consecutive_failures == found.total_failures == 0
    assert found.total_by_state == Counter()
    assert found.frequency_avg is found.latency_avg is found.runtime_avg is None


def test_what_is_stored_is_read() -> None:
    state = {
        "status": "FAIL",
        "last_test_received": "90.5",
        "received_at": "90.5",
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
    assert (found.consecutive_failures, found.total_failures) == (2, 7)
    assert found.total_by_state == {State.PASS: 3, State.TIMEOUT: 7}
    assert found.total_by_state[State.SKIP] == 0
    assert (found.frequency_history, found.latency_history, found.runtime_history) == ([5.0], [-0.5, 0.5], [1, 2, 9])


def test_averages_are_medians_so_one_outlier_does_not_move_them() -> None:
    found = read_statistics(0.0, {}, ["1", "3"], ["0.1", "0.2", "900"], ["1", "2", "3", "400"])
    assert (found.frequency_avg, found.latency_avg, found.runtime_avg) == (2.0, 0.2, 2.5)


def test_a_clock_set_back_gives_no_negative_age() -> None:
    assert read_statistics(90.0, {"last_fail": "95"}, [], [], []).seconds_since_last_fail == 0.0


@pytest.mark.parametrize("state", [{"status": "FINE"}, {"last_fail": "noon"}, {"total:FINE": "1"}, {"total:PASS": "x"}])
def test_what_livecheck_did_not_write_is_an_error(state: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        read_statistics(0.0, state, [], [], [])
