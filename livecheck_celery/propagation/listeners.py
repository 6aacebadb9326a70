"""The objects that are notified when tasks finish: one set for the process, because Celery's signals are process-wide.

A case can also be declared on another app than the one that runs the task. Each listener sends only the signals of its
own cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from weakref import ref

from livecheck_celery.propagation.sources import OperationFinished


class Listener(Protocol):
    """An object that is notified when tasks finish."""

    @property
    def operation_finished(self) -> OperationFinished:
        """The callback."""

    def listens_to(self, kind: str, name: str) -> bool:
        """Return whether the callback does anything for operations of this kind and name; fast."""

    def count_ignored(self, reason: str) -> None:
        """Count the headers of a message that are ignored."""


class Listeners:
    """Weak references to listeners.

    Tasks read them, and threads can add others meanwhile; so a change replaces the tuple, and readers copy nothing.
    """

    def __init__(self) -> None:
        self._references: tuple[ref[Listener], ...] = ()

    def __iter__(self) -> Iterator[Listener]:
        return iter([listener for one in self._references if (listener := one()) is not None])

    def add(self, listener: Listener) -> None:
        """Notify ``listener`` from now on."""
        self._references = (*map(ref, self._without(listener)), ref(listener))

    def remove(self, listener: Listener) -> None:
        """Stop notifying ``listener``."""
        self._references = tuple(map(ref, self._without(listener)))

    def _without(self, listener: Listener) -> list[Listener]:
        return [one for one in self if one is not listener]

    def clear(self) -> None:
        """Stop notifying all listeners."""
        self._references = ()
