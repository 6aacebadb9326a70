"""Attributes that are created when first used."""

from __future__ import annotations

import os
import threading

from livecheck_celery.utils.lazy import lazy
from tests.helpers.waiting import at_once


class Slow:
    def __init__(self) -> None:
        self.made = 0

    @lazy
    def thing(self) -> object:
        """Made slowly, so that simultaneous threads overlap."""
        self.made += 1
        threading.Event().wait(0.05)
        return object()


def test_attribute_is_made_once_by_simultaneous_threads() -> None:
    slow = Slow()
    assert len(set(at_once(20, lambda _: slow.thing))) == 1
    assert slow.made == 1


def test_lock_held_during_a_fork_does_not_block_the_child() -> None:
    slow = Slow()
    maker = threading.Thread(target=lambda: slow.thing)
    maker.start()
    child = os.fork()
    if child == 0:
        fresh = Slow()
        _ = fresh.thing
        os._exit(0 if fresh.made == 1 else 1)
    maker.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
