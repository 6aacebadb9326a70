"""Threads and locks do not survive a fork; what owns some says here how to begin anew in the child."""

from __future__ import annotations

import mmap
import os
import struct
import weakref
from typing import Final, Protocol

_DOUBLE: Final = struct.Struct("d")


class Forkable(Protocol):
    """Something that owns threads or locks."""

    def after_fork(self) -> None:
        """Forget the parent's threads, locks and queues."""


_owners: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_after_fork(owner: Forkable) -> None:
    """Call ``owner.after_fork()`` in every child this process forks, for as long as ``owner`` lives."""
    _owners.add(owner)


def _renew() -> None:
    for owner in list(_owners):
        owner.after_fork()


os.register_at_fork(after_in_child=_renew)


class SharedMoment:
    """A monotonic time, in seconds, that a process shares with those it forks; zero at first.

    Without a lock, so that it may be set in a signal handler.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _DOUBLE.size)

    def set(self, moment: float) -> None:
        """Have every process read ``moment``."""
        _DOUBLE.pack_into(self._memory, 0, moment)

    def get(self) -> float:
        """What was set last."""
        moment: float = _DOUBLE.unpack_from(self._memory, 0)[0]
        return moment
