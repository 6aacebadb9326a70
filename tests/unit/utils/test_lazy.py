"""Attributes that are created when first used."""

from __future__ import annotations

import os
import signal
import threading

from livecheck_celery.utils.lazy import lazy
from tests.helpers.waiting import at_once


class Slow:
    """Has an attribute that takes ``seconds`` to make, or until ``released``."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.made = 0
        self.making = threading.Event()
        self.released = threading.Event()
        self._seconds = seconds

    @lazy
    def thing(self) -> object:
        self.made += 1
        self.making.set()
        self.released.wait(self._seconds)
        return object()


def test_attribute_is_made_once_by_simultaneous_threads() -> None:
    slow = Slow(0.05)  # so that the threads overlap
    assert len(set(at_once(20, lambda _: slow.thing))) == 1
    assert slow.made == 1


def test_lock_held_during_a_fork_does_not_block_the_child() -> None:
    slow = Slow()
    maker = threading.Thread(target=lambda: slow.thing)
    maker.start()
    assert slow.making.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends a child that is blocked
        fresh = Slow(0.0)
        _ = fresh.thing
        os._exit(0 if fresh.made == 1 else 1)
    slow.released.set()
    maker.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
