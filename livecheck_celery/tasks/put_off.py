"""Put tests off in Redis: those that wait long in a worker, and those for which it has no room."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from pydantic import ValidationError

from livecheck_celery.delivery.publisher import TEST_KEYWORD
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.models import EXECUTION, TestExecution
from livecheck_celery.store.counters import PUT_OFF
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

#: Seconds for which a test that waits in a worker is put off, and between two such calls.
HOLD_FOR: Final = 30.0
HOLD_EVERY: Final = 10.0
#: Seconds after which the sweep sends a test that was given up; doubled each time, up to the maximum.
GIVE_UP_FOR: Final = 5.0
MAX_GIVE_UP: Final = 30.0
_BATCH: Final = 200


class Held(Protocol):
    """A message that waits in this process, since the monotonic time ``held_at``."""

    request: Any
    held_at: float


class PutOff:
    """Tests to put off: in Redis, they are requested and not claimed, and the sweep sends them later.

    While a test waits in a worker, the worker puts it off again and again, so that it has one message. After the worker
    is killed, the sweep sends it.
    """

    def __init__(self, livechecks: Sequence[Installed]) -> None:
        self._livechecks = livechecks
        self._held: list[TestExecution] = []
        self._given_up: list[TestExecution] = []

    @property
    def is_pending(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._held or self._given_up)

    def hold(self, waiting: Iterable[Held]) -> None:
        """Put off the tests that have waited for ten seconds."""
        now = time.monotonic()
        for each in waiting:
            if now - each.held_at >= HOLD_EVERY:
                each.held_at = now
                if (test := _recorded(each.request)) is not None:
                    self._held.append(test)

    def give_up(self, request: Any) -> bool:
        """Put off the test of a message that this process drops; return False if it has no record to send it from."""
        test = _recorded(request)
        if test is not None:
            self._given_up.append(test)
        return test is not None

    def write(self) -> None:
        """Write to Redis; a failure is logged, and the sweep sends those tests as it does after a lost message."""
        held, self._held = self._held, []
        self._write(held, HOLD_FOR, HOLD_FOR)
        given_up, self._given_up = self._given_up, []
        self._write(given_up, GIVE_UP_FOR, MAX_GIVE_UP)
        for livecheck in self._livechecks:
            if count := sum(test.case_name in livecheck.cases for test in given_up):
                livecheck.runtime.outbox.count(PUT_OFF, count)

    def _write(self, tests: list[TestExecution], seconds: float, most: float) -> None:
        by_case: defaultdict[str, list[TestExecution]] = defaultdict(list)
        for test in tests:
            by_case[test.case_name].append(test)
        for livecheck in self._livechecks:
            for name in by_case.keys() & livecheck.cases.keys():
                executions, found = livecheck.runtime.request_store.executions, by_case[name]
                try:
                    for begin in range(0, len(found), _BATCH):
                        executions.put_off(found[begin : begin + _BATCH], seconds, most)
                except LiveCheckError as exc:
                    throttled.warning("slots: tests of case %s not put off: %s", name, exc, key=f"put off {name}")


def _recorded(request: Any) -> TestExecution | None:
    """Return the test in a message; None without one that was recorded when it was triggered."""
    with suppress(ValidationError):
        test = EXECUTION.validate_python(request.kwargs.get(TEST_KEYWORD))
        return test if test.recorded_at is not None else None
    return None
