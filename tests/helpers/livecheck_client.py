"""A client that triggers tests and sends signals to workers in other processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, State, TestReport
from tests.helpers.waiting import wait_until


def send_all(case: Case, test_id: str, *names: str) -> None:
    """Send signals; the value of each is its name."""
    for name in names:
        case.signals[name].send(name, key=test_id, force=True)


def reports_of(case: Case) -> list[TestReport]:
    """Return all reports of a case."""
    return case.app.runtime.store.reports.latest([case.name], count=10_000)


def report_of(case: Case, test_id: str, timeout: float = 20.0) -> TestReport:
    """Wait for the report on a test; fail if there are two."""

    def found() -> list[TestReport]:
        return [report for report in reports_of(case) if report.test and report.test.id == test_id]

    wait_until(found, timeout, f"a verdict on {case.name}:{test_id}")
    [report] = found()
    return report


class Client:
    """A LiveCheck that triggers tests and sends signals, and runs no tests."""

    def __init__(self, url: str | None = None, broker_url: str | None = None, **conf: Any) -> None:
        """Use the Redis at ``url``, as broker too unless ``broker_url`` is given; or Celery's configuration."""
        self.app = Celery("client", broker=broker_url or url, backend=url, set_as_current=False)
        self.app.conf.update(conf)
        self.livecheck = LiveCheck(self.app, redis_url=url)
        self.store = self.livecheck.runtime.store

    def case(self, name: str, *signals: str) -> Case:
        """Return the case ``name``, which a worker declares, with ``signals`` that can be sent."""
        if name not in self.livecheck.cases:
            body = {"__annotations__": dict.fromkeys(signals, Signal[Any])}
            self.livecheck.add_case(type("case", (Case,), body), name=name)
        return self.livecheck.cases[name]

    def run_together(self, cases: Iterable[Case]) -> None:
        """Have a test of each case of `checks` wait at the same time, then send its signal; fail unless all pass."""
        tests = [(case, case.trigger(name, name).id) for case, name in ((case, uuid4().hex) for case in cases)]
        for case, name in tests:
            self.wait_claimed(case, name)
        for case, name in tests:
            case.go.send(name, key=name, force=True)
        reports = [report_of(case, name) for case, name in tests]
        assert {(report.state, report.error) for report in reports} == {(State.PASS, None)}

    def record(self, case: Case, test_id: str) -> dict[str, str]:
        """Return the record of an execution in Redis."""
        return self.store.client.hgetall(self.store.keys.test(case.name, test_id))

    def wait_claimed(self, case: Case, test_id: str, *, unlike: str | None = None) -> str:
        """Wait until a worker claims this test, with a token other than ``unlike``; return the token."""
        what = f"a claim of {case.name}:{test_id}"
        return wait_until(lambda: {self.record(case, test_id).get("token")} - {None, unlike}, 20, what).pop()

    def inspect(self, command: str) -> Any:
        """Return the answer of the only worker to ``celery inspect``."""

        def ask() -> dict[str, Any] | None:
            return getattr(self.app.control.inspect(timeout=1.0, limit=1), command)()

        [answer] = wait_until(ask, what=f"an answer to {command}").values()
        return answer

    def close(self) -> None:
        self.livecheck.close()
        self.app.close()
