"""The rule by which the tests of several cases share the slots of one worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from livecheck_celery.delivery.publisher import EXECUTE

#: One in this many slots is left to the party with the fewest tests in slots; of fewer slots, none is.
RESERVED: Final = 10
#: Seconds after its last test for which a party is expected to have another one.
EXPECTED_FOR: Final = 600.0


class Party(NamedTuple):
    """Messages that count together.

    Attributes:
        task: name of the Celery task.
        case: name of the case; empty for a task without one.
        synthetic: whether they are tests of fake requests, which outsiders cannot cause.
    """

    task: str
    case: str = ""
    synthetic: bool = False


class FairShare:
    """Counts the messages in the slots of a worker, by party, and chooses which party has the next free slot.

    Not thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: Counter[Party] = Counter()
        self._expected: dict[Party, float] = {}  # until when; the latest is last

    def expect(self, party: Party) -> None:
        """Note that ``party`` has a test, and will have others."""
        now = self._clock()
        self._expected.pop(party, None)
        self._expected[party] = now + EXPECTED_FOR
        while (oldest := next(iter(self._expected))) and self._expected[oldest] < now:
            del self._expected[oldest]

    def start(self, party: Party) -> None:
        """Count a message of ``party`` that has a slot now."""
        self._running[party] += 1

    def end(self, party: Party) -> None:
        """Count a message of ``party`` whose slot is free again."""
        self._running[party] -= 1
        if self._running[party] <= 0:
            del self._running[party]

    def choose(self, waiting: Iterable[Party], slots: int) -> Party | None:
        """Return which of the ``waiting`` parties has the next of the ``slots``; None if none may have one.

        It is the one with the fewest messages in slots, and of several the first. The last tenth of the slots is left
        free if a party that is expected has even fewer.
        """
        free = slots - self._running.total()
        party = min(waiting, key=self._running.__getitem__, default=None)
        if party is None or free <= 0:
            return None
        if free > slots // RESERVED or self._has_fewest(party):
            return party
        return None

    def is_alone(self, party: Party) -> bool:
        """Return whether no other party is expected to have tests."""
        return next(self._others(party), None) is None

    def _has_fewest(self, party: Party) -> bool:
        own = self._running[party]
        return all(self._running[other] >= own for other in self._others(party))

    def _others(self, party: Party) -> Iterator[Party]:
        now = self._clock()
        for other in reversed(self._expected):
            if self._expected[other] < now:
                return
            if other != party:
                yield other


def fake_requests_of(cases: Mapping[str, Any]) -> Iterator[Party]:
    """Yield the parties of the fake requests of ``cases``."""
    for name, case in list(cases.items()):
        if case.active and case.frequency:
            yield Party(EXECUTE, name, synthetic=True)
