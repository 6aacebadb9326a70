"""The rule by which the tests of several cases share the slots of one worker."""

from __future__ import annotations

import pytest

from livecheck_celery.execution.fair_share import EXPECTED_FOR, FairShare, Party

A, B, C, FAKE = Party("execute", "a"), Party("execute", "b"), Party("execute", "c"), Party("execute", "a", True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def share(running: dict[Party, int], *expected: Party, clock: Clock | None = None) -> FairShare:
    """Return the share of a worker with tests in its slots."""
    share = FairShare(clock or Clock())
    for party in expected:
        share.expect(party)
    for party, count in running.items():
        for _ in range(count):
            share.start(party)
    return share


@pytest.mark.parametrize(
    ("slots", "running", "expected", "waiting", "chosen"),
    [
        (100, {A: 99}, [A], [A], A),  # alone
        (100, {A: 100}, [A], [A], None),
        (100, {A: 89}, [A, B], [A], A),
        (100, {A: 90}, [A, B], [A], None),
        (100, {A: 90}, [A, FAKE], [A], None),
        (100, {A: 90}, [A, B], [A, B], B),
        (100, {A: 90, B: 9}, [A, B], [A, B], B),
        (100, {A: 49, B: 50}, [A, B], [A, B], A),  # the fewest, so the last slot
        (100, {A: 50, B: 49}, [A, B], [A], None),
        (100, {A: 45, B: 45}, [A, B], [A], A),  # none has fewer
        (100, {A: 45, B: 45}, [A, B, C], [B, A], None),  # left to c
        (10, {A: 9}, [A, B], [A], None),
        (9, {A: 8}, [A, B], [A], A),  # a tenth of nine slots is none
        (9, {A: 8}, [A, B], [A, B], B),
        (1, {}, [A, B], [A], A),
        (4, {A: 2, B: 1}, [A, B, C], [A, C, B], C),
        (4, {A: 1, B: 1}, [A, B], [B, A], B),  # the first of those with the fewest
    ],
)
def test_free_slot_goes_to_the_party_with_the_fewest_and_a_tenth_is_left_to_it(
    slots: int, running: dict[Party, int], expected: list[Party], waiting: list[Party], chosen: Party | None
) -> None:
    assert share(running, *expected).choose(waiting, slots) == chosen


@pytest.mark.parametrize("running", [0, 3, 9])
def test_case_alone_can_use_every_slot(running: int) -> None:
    assert share({A: running}, A).choose([A], 10) == A
    assert share({A: running}, A).is_alone(A)


def test_party_without_tests_for_ten_minutes_is_not_expected() -> None:
    clock = Clock()
    found = share({A: 9}, A, B, clock=clock)
    assert found.choose([A], 10) is None
    clock.now += EXPECTED_FOR + 1
    found.expect(A)
    assert found.choose([A], 10) == A
    assert found.is_alone(A)
    assert list(found._expected) == [A]


def test_slots_of_finished_tests_are_free_again() -> None:
    found = share({A: 10}, A)
    assert found.choose([A], 10) is None
    for _ in range(10):
        found.end(A)
    assert found.choose([A], 10) == A
    assert not found._running
