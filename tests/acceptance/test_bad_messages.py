"""A worker reports messages that it cannot execute, and continues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from livecheck_celery import State, TestReport
from tests.helpers.livecheck_client import Client, reports_of
from tests.helpers.programs import Program, Programs
from tests.helpers.waiting import wait_until


@pytest.fixture(scope="module")
def worker(shared_programs: Programs) -> Program:
    return shared_programs.start_worker(
        "celery -A livecheck_celery worker", LIVECHECK_CASES="checks", LIVECHECK_MAX_PAYLOAD="1000"
    )


@pytest.fixture(autouse=True)
def worker_continues(worker: Program, client: Client) -> Iterator[None]:
    """After each test, the worker executes the next message, and has refused at most one, once."""
    before = len(worker.output())
    yield
    client.run_together([client.case("checks.test_plain", "go")])
    assert worker.output()[before:].count("refused a message") <= 1


def execute(client: Client, *args: Any, **kwargs: Any) -> None:
    client.app.send_task("livecheck.execute", args, kwargs, queue="livecheck")


def new_report(client: Client, error: str) -> TestReport:
    """Wait for the report whose error contains ``error``; fail if there are two."""

    def found() -> list[TestReport]:
        return [report for report in client.store.reports.latest(None, count=1000) if error in (report.error or "")]

    wait_until(found, what=f"a report: {error}")
    [report] = found()
    return report


@pytest.mark.promise("A message for a case that is not declared is reported as an ERROR.", theme="input")
def test_unknown_case_is_an_error(worker: Program, client: Client) -> None:
    name = f"unknown.test_{uuid4().hex}"
    execute(client, "o-1", livecheck_case=name)
    problem = f"unknown case {name!r}; add its module to this worker's imports or livecheck_cases"
    report = new_report(client, problem)
    assert (report.case_name, report.state, report.error) == (name, State.ERROR, problem)
    worker.wait_for(f"refused a message: {problem}")


@pytest.mark.parametrize("name", [None, 7, ["x"], {}])
def test_case_name_of_the_wrong_type_is_refused(worker: Program, client: Client, name: Any) -> None:
    execute(client, "o-1", livecheck_case=name)
    worker.wait_for(f"refused a message: unknown case {name!r}; ")


@pytest.mark.parametrize("execution", ["text", {"id": "o-1"}, 7, ["o-1"]])
def test_invalid_execution_is_an_error(worker: Program, client: Client, execution: Any) -> None:
    case = client.case("checks.test_plain", "go")
    before = len(reports_of(case))
    execute(client, livecheck_case=case.name, livecheck_test=execution)
    wait_until(lambda: len(reports_of(case)) > before, what="a report")
    report = reports_of(case)[-1]
    assert (report.state, report.test) == (State.ERROR, None)
    assert report.error.startswith("a message for case checks.test_plain has no valid execution: ")


def test_arguments_over_max_payload_are_an_error(client: Client) -> None:
    name = uuid4().hex
    execute(client, name, "x" * 2000, livecheck_case="checks.test_plain")
    report = new_report(client, f"the arguments of test {name} are ")
    assert report.state is State.ERROR
    assert report.error.endswith("bytes, over the limit of 1000 (livecheck_max_payload)")


@pytest.mark.promise("Arguments that `run()` does not accept are a FAIL that names them.", theme="input")
def test_unexpected_argument_is_a_fail(client: Client) -> None:
    name = uuid4().hex
    execute(client, name, "me", side=name, livecheck_case="checks.test_plain")
    report = wait_until(
        lambda: [one for one in reports_of(client.case("checks.test_plain", "go")) if one.test and one.test.id == name]
    )[0]
    assert report.state is State.FAIL
    assert str(report.error).endswith("side; run() takes: me, within")


@pytest.mark.parametrize("body", [b"{not json", b"\xff"])
def test_invalid_body_does_not_stop_the_worker(worker: Program, client: Client, body: bytes) -> None:
    headers = {"task": "livecheck.execute", "id": uuid4().hex}
    with client.app.connection_for_write() as connection, connection.channel() as channel:
        client.app.amqp.Producer(channel, auto_declare=False).publish(
            body, content_type="application/json", content_encoding="utf-8", routing_key="livecheck", headers=headers
        )


def test_fake_request_of_an_unknown_case_is_logged(worker: Program, client: Client) -> None:
    name = f"removed.test_{uuid4().hex}"
    client.app.send_task("livecheck.fake_request", kwargs={"livecheck_case": name}, queue="livecheck.schedule")
    worker.wait_for(f"livecheck.fake_request: unknown case {name!r}; ")
    assert "Traceback" not in worker.output().partition(name)[2]
