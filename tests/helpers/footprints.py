"""Many executions in little time: what a store would send one by one goes in pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.client import Pipeline

from livecheck_celery.models import State, TestExecution
from livecheck_celery.store import Store
from livecheck_celery.store.scripts import Argument, Script
from tests.helpers.factories import CASE, make_report, make_signal, make_test

BATCH = 250


class _Queued(Exception):
    """Raised in place of waiting for a reply."""


class Bulk(Store):
    """A store whose operations are queued, for `send` to send them together."""

    pipeline: Pipeline

    def _run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        script(keys, args, self.pipeline)
        raise _Queued

    def send(self, operations: Iterable[Callable[[], object]]) -> list[Any]:
        """The replies."""
        self.pipeline = self.client.pipeline(transaction=False)
        for operation in operations:
            try:
                operation()
            except _Queued:
                continue
        replies = self.execute(self.pipeline)
        self.complain(replies)
        return replies


def claim(store: Store, test: TestExecution, max_history: int = 100) -> None:
    """As a worker does, for a case with a frequency."""
    store.claim(
        test,
        token=f"token-of-{test.id:->23}",
        address="f" * 32,
        lease=9.0,
        active=True,
        frequency=1.0,
        max_history=max_history,
        expires_in=3600.0,
    )


def judge(store: Store, test: TestExecution, state: State = State.PASS, max_history: int = 100, **report: Any) -> None:
    """As a worker does."""
    told = make_report(state, test, runtime=0.125, **report)
    options = {"address": "f" * 32, "max_history": max_history, "state_transition_delay": 60.0}
    store.verdict(told, f"token-of-{test.id:->23}", **options)


def run_executions(store: Bulk, first: int, count: int, expires_in: float = 3 * 3600.0) -> None:
    """``count`` executions from trigger to verdict, each with one signal."""
    for start in range(first, first + count, BATCH):
        tests = [make_test(f"{number:032}") for number in range(start, min(start + BATCH, first + count))]
        stamps = store.send(lambda test=test: store.record(test, expires_in=expires_in) for test in tests)
        tests = [make_test(test.id, recorded_at=float(at)) for test, at in zip(tests, stamps, strict=True)]
        store.send(lambda test=test: store.signal(make_signal(key=test.id), ttl=0.0) for test in tests)
        claims = store.send(lambda test=test: claim(store, test) for test in tests)
        assert {outcome for outcome, *_ in claims} == {"run"}
        verdicts = store.send(lambda test=test: judge(store, test) for test in tests)
        assert {accepted for accepted, *_ in verdicts} == {1}


def used(client: redis.Redis) -> int:
    """Bytes the server holds."""
    return int(client.info("memory")["used_memory"])


def per_test(client: redis.Redis, case_name: str = CASE) -> int:
    """Keys that are of single executions."""
    return sum(1 for _ in client.scan_iter(match=f"*{{{case_name}}}:*:*", count=5000))
