"""What a test does to workers from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery
from support import wait_until

from livecheck_celery import Case, LiveCheck, Signal, TestReport


class Client:
    """A process that triggers tests and sends signals, and runs none."""

    def __init__(self, url: str) -> None:
        self.app = Celery("client", broker=url, backend=url, set_as_current=False)
        self.livecheck = LiveCheck(self.app)
        self.store = self.livecheck.store

    def case(self, name: str, *signals: str) -> Case:
        """The case ``name`` of some worker, so far as one must know it to trigger it and to signal to it."""
        if name not in self.livecheck.cases:
            body = {"__annotations__": dict.fromkeys(signals, Signal[Any])}
            self.livecheck.add_case(type("case", (Case,), body), name=name)
        return self.livecheck.cases[name]

    def reports(self, case: Case) -> list[TestReport]:
        return self.store.reports([case.name], count=10_000)

    def report(self, case: Case, test_id: str, timeout: float = 20.0) -> TestReport:
        """The report on a test, as soon as there is one; there must never be two."""

        def found() -> list[TestReport]:
            return [report for report in self.reports(case) if report.test and report.test.id == test_id]

        wait_until(found, timeout, f"a verdict on {case.name}:{test_id}")
        [report] = found()
        return report

    def wait_claimed(self, case: Case, test_ids: Iterable[str], timeout: float = 20.0) -> None:
        """Wait until workers have these tests."""
        for test_id in test_ids:
            key = self.store.keys.test(case.name, test_id)
            wait_until(lambda key=key: self.store.client.hexists(key, "token"), timeout, f"a claim of {key}")

    def inspect(self) -> Any:
        return self.app.control.inspect(timeout=1.0, limit=1)

    def close(self) -> None:
        self.livecheck.close()
        self.app.close()
