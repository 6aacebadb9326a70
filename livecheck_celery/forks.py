"""Threads and locks do not survive a fork; what owns some says here how to begin anew in the child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


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
