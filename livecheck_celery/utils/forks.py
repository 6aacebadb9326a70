"""Renewal of threads and locks after a fork, which copies neither in a usable state."""

from __future__ import annotations

import mmap
import os
import struct
import sys
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

_DOUBLE: Final = struct.Struct("d")


class Forkable(Protocol):
    """An object that owns threads or locks."""

    def after_fork(self) -> None:
        """Discard the parent's threads, locks and queues."""


_owners: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_after_fork(owner: Forkable) -> None:
    """Call ``owner.after_fork()`` in every child this process forks, as long as ``owner`` lives."""
    _owners.add(owner)


def _renew() -> None:
    for owner in list(_owners):
        owner.after_fork()


os.register_at_fork(after_in_child=_renew)


def at_exit_of_child(function: Callable[[], object]) -> None:
    """Call the method ``function`` at the exit of this process, if it is a child of `multiprocessing` or `billiard`.

    Such a child does not run atexit handlers. Holds a weak reference to the object of the method.
    """
    for library in ("multiprocessing", "billiard"):
        process, util = sys.modules.get(f"{library}.process"), sys.modules.get(f"{library}.util")
        if process is not None and util is not None and type(process.current_process()).__name__ != "_MainProcess":
            method = weakref.WeakMethod(function)
            util.Finalize(None, lambda method=method: (call := method()) and call(), exitpriority=100)


class EndForkedChildren:
    """A block whose end is the end of each child that code in it made by ``os.fork()``, and that did not end itself.

    The traceback of what the code raised is printed, except of a ``SystemExit``, which has the exit code.
    """

    def __enter__(self) -> None:
        self._parent = os.getpid()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if os.getpid() == self._parent:
            return
        code = 0 if error is None else 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            with suppress(Exception):
                traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


class SharedMoment:
    """A monotonic time in seconds, shared by a process and its forked children; initially zero.

    It has no lock, so a signal handler can set it.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _DOUBLE.size)

    def set(self, moment: float) -> None:
        """Set the time in every process."""
        _DOUBLE.pack_into(self._memory, 0, moment)

    def get(self) -> float:
        """Return the time that was set last."""
        moment: float = _DOUBLE.unpack_from(self._memory, 0)[0]
        return moment
