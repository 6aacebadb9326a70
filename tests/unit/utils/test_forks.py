"""Renewal of objects after a fork, and times shared with forked children."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable

from livecheck_celery.utils.forks import SharedMoment, renew_after_fork


class Owner:
    def __init__(self) -> None:
        self.renewed_in: list[int] = []
        renew_after_fork(self)

    def after_fork(self) -> None:
        self.renewed_in.append(os.getpid())


def succeeds_in_child(check: Callable[[], bool]) -> bool:
    """Whether ``check()`` is true in a forked child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_object_is_renewed_in_the_child_only() -> None:
    owner = Owner()
    assert succeeds_in_child(lambda: owner.renewed_in == [os.getpid()])
    assert owner.renewed_in == []


def test_registered_object_is_not_kept_alive() -> None:
    owner = Owner()
    alive = weakref.ref(owner)
    del owner
    gc.collect()
    assert alive() is None


def test_moment_is_zero_until_set_and_shared_with_children() -> None:
    moment = SharedMoment()
    assert moment.get() == 0.0
    moment.set(12.5)
    assert succeeds_in_child(lambda: (moment.get() == 12.5, moment.set(99.25))[0])
    assert moment.get() == 99.25
