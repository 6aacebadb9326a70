"""Which cases have executions without a verdict, or a run of a schedule, so that the sweep need not look at each case.

The index is in another cluster slot than the executions and runs, so they are not written in one step: the index can be
late, and nothing is decided by it alone. A case is noted in the round trip that records or claims an execution, or
claims a run. The sweep forgets a case only when it has neither, and was not noted for a minute. In each pass it also
looks at some of the other cases, in turn, for what a process that died in between did not note.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import redis

from livecheck_celery.errors import RedisUnavailable, UnreadableKey
from livecheck_celery.store import execution_scripts as scripts
from livecheck_celery.store.database import Database
from livecheck_celery.store.scripts import Call, Script
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

throttled = ThrottledLogger(get_logger(__name__))

FIND_OPEN: Final = Script("find_open", keys=("open_cases", "checks"), args=("passes",))
NOTE_OPEN: Final = Script("note_open", keys=("open_cases",), args=("*cases",))
DROP_OPEN: Final = Script("drop_open", keys=("open_cases",), args=("delay", "*cases"))

#: Cases at which each pass of the sweep looks, whatever the index says: all cases, if there are not more.
LOOK_AT: Final = 60
#: Seconds for which a process does not note the same case again.
NOTE_EVERY: Final = 15.0
#: Seconds for which a noted case stays in the index: longer than `NOTE_EVERY` and the slowest record together.
STAYS: Final = 60.0


class Due(NamedTuple):
    """The cases at which a pass of the sweep looks.

    Attributes:
        executions: those with an execution that the sweep should check now.
        runs: those that can have a run of a schedule.
    """

    executions: list[str]
    runs: list[str]


def passes_of(first_case: str) -> str:
    """Return the field with the number of passes over the cases of which this is the first one."""
    return f" {first_case}"


class OpenCases:
    """The index of the cases with executions without a verdict or a run; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, float] = {}
        self._refused_at = -NOTE_EVERY

    def run_all(self, calls: Sequence[Call], case_names: Iterable[str]) -> list[Any]:
        """Run scripts that can add executions or runs of these cases, in one round trip; return all replies.

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
        """Run a script that can add an execution or a run of a case, as `run_all` does; return its reply.

        Raises:
            RedisUnavailable: Redis did not answer, or the script failed.
        """
        if not self._not_noted([case_name]):
            return self._database.run(call)
        replies = self.run_all([call], [case_name])
        self._database.raise_first_error(replies)
        return replies[0]

    def note(self, case_names: Collection[str]) -> None:
        """Note that these cases have executions without a verdict, or runs.

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

    def due(self, case_names: Sequence[str], scheduled: Collection[str] = ()) -> Due:
        """Begin a pass of the sweep: return the cases to look at now.

        Takes one round trip for `LOOK_AT` cases or fewer, and at most six for more.

        Args:
            case_names: all cases.
            scheduled: those that can have a run of a schedule.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        found = self._find(case_names, scheduled)
        calls = {name: scripts.DUE(open=self._database.keys.open(name), limit=1) for name in found}
        due = {name for name, ids in self._database.run_each(calls).items() if ids}
        if len(case_names) > LOOK_AT:
            with suppress(RedisUnavailable):  # the next pass forgets them
                self.drop([name for name in found if name not in due], scheduled)
        return Due([name for name in found if name in due], [name for name in found if name in scheduled])

    def _find(self, case_names: Sequence[str], scheduled: Collection[str]) -> list[str]:
        """Return those of ``case_names`` that can have executions without a verdict or a run."""
        if len(case_names) <= LOOK_AT:
            return list(case_names)
        keys = self._database.keys
        try:
            # Those of other cases, of which another LiveCheck takes turns with this one, are counted by themselves.
            call = FIND_OPEN(open_cases=keys.open_cases, checks=keys.checks, passes=passes_of(case_names[0]))
            turn, *indexed = self._database.run(call)
        except UnreadableKey as exc:
            self._database.unreadable.skip(keys.open_cases, exc)
            return list(case_names)
        start = turn % -(-len(case_names) // LOOK_AT) * LOOK_AT
        others = set(case_names[start : start + LOOK_AT]).difference(indexed)
        missed = others - self._idle(others, scheduled)
        self.note(missed)
        found = missed.union(indexed)
        return [name for name in case_names if name in found]

    def drop(self, case_names: Collection[str], scheduled: Collection[str] = ()) -> None:
        """Forget those of ``case_names`` that have no execution without a verdict, and no run; arguments as for `due`.

        Takes at most two round trips.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        if gone := sorted(self._idle(case_names, scheduled)):
            self._database.run(DROP_OPEN(open_cases=self._database.keys.open_cases, delay=STAYS, cases=gone))

    def _idle(self, case_names: Collection[str], scheduled: Collection[str]) -> set[str]:
        """Return those of ``case_names`` that have no execution without a verdict, and no run, in one round trip."""
        keys, pipeline = self._database.keys, self._database.pipeline()
        used = [(name, keys.open(name)) for name in case_names]
        for _, key in used:
            pipeline.zcard(key)
        for name in [name for name in case_names if name in scheduled]:
            pipeline.hexists(keys.suite(name), "run")
            used.append((name, keys.suite(name)))
        replies = self._database.execute_each(pipeline, [key for _, key in used])
        busy = {name for (name, _), found in zip(used, replies, strict=True) if found != 0}
        return set(case_names) - busy
