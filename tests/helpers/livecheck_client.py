"""What a test does to workers from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, State, TestReport
from tests.helpers.waiting import wait_until


def send_all(case: Case, test_id: str, *names: str) -> None:
    """Send these signals, each with its name for its value."""
    for name in names:
        case.signals[name].send(name, key=test_id, force=True)


def reports_of(case: Case) -> list[TestReport]:
    """All reports there are of a case."""
    return case.app.runtime.store.reports.latest([case.name], count=10_000)


def report_of(case: Case, test_id: str, timeout: float = 20.0) -> TestReport:
    """The report on a test, as soon as there is one; fails when there are two."""

    def found() -> list[TestReport]:
        return [report for report in reports_of(case) if report.test and report.test.id == test_id]

    wait_until(found, timeout, f"a verdict on {case.name}:{test_id}")
    [report] = found()
    return report


class Client:
    """A process that triggers tests and sends signals, and runs none."""

    def __init__(self, url: str | None = None, broker_url: str | None = None, **conf: Any) -> None:
        """``url`` of the Redis that is everything, but for ``broker_url``; or Celery's configuration."""
        self.app = Celery("client", broker=broker_url or url, backend=url, set_as_current=False)
        self.app.conf.update(conf)
        self.livecheck = LiveCheck(self.app, redis_url=url)
        self.store = self.livecheck.runtime.store

    def case(self, name: str, *signals: str) -> Case:
        """The case ``name`` of some worker, so far as one must know it to trigger it and to signal to it."""
        if name not in self.livecheck.cases:
            body = {"__annotations__": dict.fromkeys(signals, Signal[Any])}
            self.livecheck.add_case(type("case", (Case,), body), name=name)
        return self.livecheck.cases[name]

    def run_together(self, cases: Iterable[Case]) -> None:
        """Have a test of each of these cases of `checks` wait at the same time, then end; fails unless all pass."""
        tests = [(case, case.trigger(name, name).id) for case, name in ((case, uuid4().hex) for case in cases)]
        for case, name in tests:
            self.wait_claimed(case, name)
        for case, name in tests:
            case.go.send(name, key=name, force=True)
        reports = [report_of(case, name) for case, name in tests]
        assert {(report.state, report.error) for report in reports} == {(State.PASS, None)}

    def record(self, case: Case, test_id: str) -> dict[str, str]:
        """What the ledger says of a test."""
        return self.store.client.hgetall(self.store.keys.test(case.name, test_id))

    def wait_claimed(self, case: Case, test_id: str, *, unlike: str | None = None) -> str:
        """Wait until a worker has this test; the token of its claim, which is not to be ``unlike``."""
        what = f"a claim of {case.name}:{test_id}"
        return wait_until(lambda: {self.record(case, test_id).get("token")} - {None, unlike}, 20, what).pop()

    def inspect(self, what: str) -> Any:
        """What the one worker there is answers to ``celery inspect``."""

        def ask() -> dict[str, Any] | None:
            return getattr(self.app.control.inspect(timeout=1.0, limit=1), what)()

        [answer] = wait_until(ask, what=f"an answer to {what}").values()
        return answer

    def close(self) -> None:
        self.livecheck.close()
        self.app.close()
