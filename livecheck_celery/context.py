"""What the running code is part of: tests, a fake request, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from livecheck_celery import blocks
from livecheck_celery.blocks import Block, Mark
from livecheck_celery.config import MAX_HOP_AGE
from livecheck_celery.models import TestExecution
from livecheck_celery.utils import clock


def current_test() -> TestExecution | None:
    """Return the test that the running code is part of, if any; with several, the innermost."""
    return next(iter(blocks.tests_in_force()), None) if blocks.is_anything_in_force() else None


def current_tests() -> list[TestExecution]:
    """Return all tests that the running code is part of, the innermost first."""
    return _unique(blocks.tests_in_force())


def operation_tests(since: float | None = None) -> list[TestExecution]:
    """Return the tests that an operation which finishes here was part of.

    These are the tests in force; the tests triggered earlier in the current request or task whose cases have none in
    force, so that with a block for each order an operation belongs to its own order; and those triggered during the
    operation.

    Args:
        since: time at which the operation began, in seconds since the epoch; None for an operation without duration.
    """
    tests, work = current_tests(), blocks.current_work()
    if work is None or not work.has_triggered:
        return tests
    cases = {test.case_name for test in tests}
    earlier = [
        test
        for test in work.triggered
        if test.case_name not in cases or (since is not None and test.timestamp.timestamp() >= since)
    ]
    return _unique([*tests, *earlier])


def identity_here() -> tuple[str, str] | None:
    """Return name of the case and id of the test that the running code is part of, or that it has triggered, if any."""
    test = next(iter(operation_tests()), None)
    return None if test is None else (test.case_name, test.id)


def is_synthetic() -> bool:
    """Return whether a fake request caused the running code: then nothing of it may reach the real world.

    True for everything that descends from a fake request, whether it is tested or not, and whatever LiveCheck's own
    state is: over Celery without any expiry, over HTTP until the mark of the fake request is older than `max_hop_age`.
    Never raises.
    """
    return blocks.mark_in_force() is not None


def mark_in_force() -> Mark | None:
    """Return the mark of the fake request that the running code is part of, if any."""
    return blocks.mark_in_force()


def collect(test: TestExecution, *, lingers: bool = False) -> None:
    """Add ``test``, which was triggered here, to the tests of the current request or task; see `Work.collect`."""
    if (work := blocks.current_work()) is not None:
        work.collect(test, lingers=lingers)


@contextmanager
def under_test(test: TestExecution, *, expires: bool = True) -> Iterator[TestExecution]:
    """Make ``test`` the current test for the block, until it expires, or with ``expires=False`` for all of it."""
    with Block((test,), expires=expires):
        yield test


def fake_request(case_name: str, lifetime: float = MAX_HOP_AGE) -> Block:
    """Return a block that marks everything it causes as a fake request for ``case_name``, which begins now.

    Args:
        case_name: name of the case.
        lifetime: seconds in which services accept the mark over HTTP.
    """
    since = clock.now()
    return Block((), Mark(case_name, since, since + timedelta(seconds=lifetime)))


def detached() -> Block:
    """Return a block that is part of no test and no fake request, for work that serves many requests."""
    return Block(isolated=True)


def _unique(tests: list[TestExecution]) -> list[TestExecution]:
    return list({(test.case_name, test.id): test for test in tests}.values()) if len(tests) > 1 else tests
