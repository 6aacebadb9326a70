"""The slots of one worker, shared between its cases, so that the tests of one cannot keep out all others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: One in this many slots is left to parties that do not have their fair share.
_RESERVED: Final = 5

#: A case, and whether its test is of a fake request, which outsiders cannot cause.
Party = tuple[str, bool]


class FairShare:
    """Counts the tests in the slots of this process, by party.

    Attributes:
        slots: tests that this process runs at a time. Of less than five, none is reserved.
    """

    def __init__(self) -> None:
        self.slots = 0
        self._running: Counter[Party] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def running(self, party: Party) -> Iterator[None]:
        """Count a test of ``party`` in the block, which has a slot."""
        with self._lock:
            self._running[party] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[party] -= 1
                if not self._running[party]:
                    del self._running[party]

    def allows(self, party: Party, count_parties: Callable[[], int]) -> bool:
        """Return whether ``party`` may use the slots it has.

        It may not if it has more than ``slots / count_parties()``, and the last fifth of the slots would be in use.
        """
        reserved = self.slots // _RESERVED
        with self._lock:
            free, own = self.slots - self._running.total(), self._running[party]
        return not reserved or free >= reserved or own * count_parties() <= self.slots
