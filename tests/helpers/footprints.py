"""Many executions in little time: the operations of many executions are sent in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import redis

from livecheck_celery.config import Settings
from livecheck_celery.models import State, TestExecution
from livecheck_celery.store.database import Database
from livecheck_celery.store.executions import Executions
from livecheck_celery.store.open_cases import OpenCases
from livecheck_celery.store.scripts import Call
from livecheck_celery.store.signals import Signals
from tests.helpers.factories import CASE, make_report, make_signal, make_test

BATCH = 250


class _Queued(Exception):
    """Raised in place of waiting for a reply."""


class _QueueingDatabase(Database):
    """Queues each call of a script."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.queue: list[Call] = []

    def run(self, call: Call) -> Any:
        self.queue.append(call)
        raise _Queued


class _NoIndex(OpenCases):
    """Adds no call to those of the executions."""

    def run(self, call: Call, case_name: str) -> Any:
        return self._database.run(call)


class BulkStore:
    """Executions and signals whose operations are queued, for `send` to send them together."""

    def __init__(self, settings: Settings) -> None:
        self._database = _QueueingDatabase(settings)
        self.client, self.keys = self._database.client, self._database.keys
        self.executions = Executions(self._database)
        self.executions.open_cases = _NoIndex(self._database)
        self.signals = Signals(self._database)

    def send(self, operations: Iterable[Callable[[], object]]) -> list[Any]:
        """Send the calls that ``operations`` queue, and return the replies."""
        for operation in operations:
            try:
                operation()
            except _Queued:
                continue
        queue, self._database.queue = self._database.queue, []
        return self._database.run_all(queue)


def claim(store: BulkStore, test: TestExecution, max_history: int = 100) -> None:
    """Claim as a worker does, for a case with a frequency."""
    store.executions.claim(
        test,
        token=f"token-of-{test.id:->23}",
        address="f" * 32,
        lease=9.0,
        active=True,
        frequency=1.0,
        max_history=max_history,
        expires_in=3600.0,
    )


def judge(
    store: BulkStore, test: TestExecution, state: State = State.PASS, max_history: int = 100, **fields: Any
) -> None:
    """Record a verdict as a worker does; ``fields`` are of the report."""
    store.executions.verdict(
        make_report(state, test, runtime=0.125, **fields),
        f"token-of-{test.id:->23}",
        max_history=max_history,
        state_transition_delay=60.0,
    )


def run_executions(store: BulkStore, first: int, count: int, expires_in: float = 3 * 3600.0) -> None:
    """Run ``count`` executions from trigger to verdict, each with one signal."""
    for start in range(first, first + count, BATCH):
        tests = [make_test(f"{number:032}") for number in range(start, min(start + BATCH, first + count))]
        stamps = store.send(partial(store.executions.record, test, expires_in=expires_in) for test in tests)
        tests = [make_test(test.id, recorded_at=float(at)) for test, at in zip(tests, stamps, strict=True)]
        store.send(partial(store.signals.send, make_signal(key=test.id), ttl=0.0) for test in tests)
        claims = store.send(partial(claim, store, test) for test in tests)
        assert {outcome for outcome, *_ in claims} == {"run"}
        verdicts = store.send(partial(judge, store, test) for test in tests)
        assert {accepted for accepted, *_ in verdicts} == {1}


def used(client: redis.Redis) -> int:
    """Return the bytes that the server uses."""
    return int(client.info("memory")["used_memory"])


def per_test(client: redis.Redis, case_name: str = CASE) -> int:
    """Count the keys that belong to single executions."""
    return sum(1 for _ in client.scan_iter(match=f"*{{{case_name}}}:*:*", count=5000))
