"""Which cases have executions without a verdict, so that the sweep of thousands of cases need not look at each.

The index is in another cluster slot than the executions, so the two are not written in one step: the index can be
late, and nothing is decided by it alone. A case is noted in the round trip that records or claims an execution. The
sweep forgets a case only when it has none, and was not noted for a minute. In each pass it also looks at some of the
other cases, in turn, for what a process that died in between did not note.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import redis

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.store import execution_scripts as scripts
from livecheck_celery.store.database import Database
from livecheck_celery.store.scripts import Call, Script
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

throttled = ThrottledLogger(get_logger(__name__))

NOTE_OPEN: Final = Script("note_open", keys=("open_cases",), args=("*cases",))
DROP_OPEN: Final = Script("drop_open", keys=("open_cases",), args=("delay", "*cases"))

#: Cases at which each pass of the sweep looks, whatever the index says: all cases, if there are not more.
LOOK_AT: Final = 60
#: Seconds for which a process does not note the same case again.
NOTE_EVERY: Final = 15.0
#: Seconds for which a noted case stays in the index: longer than `NOTE_EVERY` and the slowest record together.
STAYS: Final = 60.0


class OpenCases:
    """The index of the cases with executions without a verdict; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, float] = {}
        self._refused_at = -NOTE_EVERY

    def run_all(self, calls: Sequence[Call], case_names: Iterable[str]) -> list[Any]:
        """Run scripts that can add executions of these cases, in one round trip; return the replies, also errors.

        Cases that this process has not noted in the last seconds are noted, too. If that fails, the sweep finds their
        executions later.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        names = self._not_noted(case_names)
        if not names:
            return self._database.run_all(calls, raise_on_error=False)
        now = time.monotonic()
        # Last, since the servers of a cluster are asked one after the other, and this one can be down.
        *replies, noted = self._database.run_all([*calls, self._note_call(names)], raise_on_error=False)
        if isinstance(noted, redis.RedisError):
            self._refused_at = now  # a server of a cluster that is down would delay each call
            throttled.warning("store: cases with open tests not noted, recovery can be late: %s", noted)
        else:
            self._noted.update(dict.fromkeys(names, now))
        return replies

    def run(self, call: Call, case_name: str) -> Any:
        """Run a script that can add an execution of a case, as `run_all` does; return its reply.

        Raises:
            RedisUnavailable: Redis did not answer, or the script failed.
        """
        if not self._not_noted([case_name]):
            return self._database.run(call)
        replies = self.run_all([call], [case_name])
        self._database.raise_first_error(replies)
        return replies[0]

    def note(self, case_names: Collection[str]) -> None:
        """Note that these cases have executions without a verdict.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        if case_names:
            self._database.run(self._note_call(case_names))

    def note_again(self) -> None:
        """Note the cases that this process has noted, since Redis has lost its data.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self.note(list(self._noted))

    def _not_noted(self, case_names: Iterable[str]) -> set[str]:
        """Return the cases to note now."""
        now = time.monotonic()
        if now - self._refused_at < NOTE_EVERY:
            return set()
        return {name for name in case_names if now - self._noted.get(name, now - NOTE_EVERY) >= NOTE_EVERY}

    def _note_call(self, case_names: Iterable[str]) -> Call:
        return NOTE_OPEN(open_cases=self._database.keys.open_cases, cases=sorted(case_names))

    def due(self, case_names: Sequence[str], turn: int) -> list[str]:
        """Return the cases with an execution that the sweep should check now.

        Takes one round trip for `LOOK_AT` cases or fewer, and at most five for more.

        Args:
            case_names: all cases.
            turn: number of the pass of the sweep, which selects the cases at which it looks besides the index.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        found = self._find(case_names, turn)
        calls = {name: scripts.DUE(open=self._database.keys.open(name), limit=1) for name in found}
        due = {name for name, ids in self._database.run_each(calls).items() if ids}
        if len(found) < len(case_names):
            with suppress(RedisUnavailable):  # the next pass forgets them
                self.drop([name for name in found if name not in due])
        return [name for name in found if name in due]

    def _find(self, case_names: Sequence[str], turn: int) -> list[str]:
        """Return those of ``case_names`` that can have executions without a verdict."""
        if len(case_names) <= LOOK_AT:
            return list(case_names)
        keys, start = self._database.keys, turn % -(-len(case_names) // LOOK_AT) * LOOK_AT
        others = case_names[start : start + LOOK_AT]
        pipeline = self._database.pipeline()
        pipeline.zrange(keys.open_cases, 0, -1)
        for name in others:
            pipeline.zcard(keys.open(name))
        used = [keys.open_cases, *map(keys.open, others)]
        indexed, *counts = self._database.execute_each(pipeline, used)
        if indexed is None:
            return list(case_names)
        missed = {name for name, count in zip(others, counts, strict=True) if count} - set(indexed)
        self.note(missed)
        found = missed.union(indexed)
        return [name for name in case_names if name in found]

    def drop(self, case_names: Collection[str]) -> None:
        """Forget those of ``case_names`` that have no execution without a verdict."""
        if not case_names:
            return
        keys = self._database.keys
        pipeline = self._database.pipeline()
        for name in case_names:
            pipeline.zcard(keys.open(name))
        counts = self._database.execute_each(pipeline, [keys.open(name) for name in case_names])
        if gone := [name for name, count in zip(case_names, counts, strict=True) if count == 0]:
            self._database.run(DROP_OPEN(open_cases=keys.open_cases, delay=STAYS, cases=gone))
