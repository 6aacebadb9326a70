"""`LiveCheck.post_report` gets each report, and failures of a suite are reported once; in both faces."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from livecheck_celery import State, SuiteFailed, TestReport
from tests.helpers.faces import AIO, SYNC, Face, execute
from tests.helpers.order_case import outcomes

NAME = "shop.test_order"


def recording(face: Face, reports: list[TestReport], error: BaseException | None = None) -> Any:
    """Return a class of LiveCheck that notes the reports, and then raises ``error``."""

    def note(report: TestReport) -> None:
        reports.append(report)
        if error is not None:
            raise error

    class Recording(face.LiveCheck):
        def post_report(self, report: TestReport) -> None:
            super().post_report(report)
            note(report)

    class AsyncRecording(face.LiveCheck):
        async def post_report(self, report: TestReport) -> None:
            await super().post_report(report)
            await asyncio.sleep(0)
            note(report)

    return AsyncRecording if face.is_async else Recording


def declare(face: Face, livecheck: Any, run: Any, **attributes: Any) -> Any:
    cls = type("test_order", (face.Case,), {"run": face.method(run), **attributes})
    return livecheck.add_case(cls, name=NAME, max_consecutive_failures=1)


def fail(self: Any) -> None:
    raise AssertionError("not sent")


@pytest.mark.promise("`LiveCheck.post_report` gets each report, and decides nothing.", theme="verdicts")
@pytest.mark.parametrize("error", [None, ValueError("no queue"), SystemExit(3)], ids=repr)
def test_each_report_is_posted_once_and_what_that_raises_is_logged(
    face: Face, redis_url: str, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[TestReport] = []
    livecheck = face.livecheck(redis_url, recording(face, reports, error))
    try:
        case = declare(face, livecheck, fail)
        assert execute(case).state is State.FAIL
        assert [(each.case_name, each.state, each.test is None) for each in reports] == [
            (NAME, State.FAIL, False),
            (NAME, State.FAIL, True),
        ], "that of the test, and that of the suite"
        assert [state for state, _ in outcomes(case)] == [State.FAIL] * 2, "each is stored once"
        raised = [each for each in caplog.messages if each == f"case {NAME}: post_report() raised"]
        assert len(raised) == (2 if error else 0)
    finally:
        livecheck.close()


@pytest.mark.parametrize(("of_case", "of_livecheck"), [(SYNC, AIO), (AIO, SYNC)], ids=["sync on aio", "aio on sync"])
def test_livecheck_gets_the_reports_of_cases_of_the_other_face(
    of_case: Face, of_livecheck: Face, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[TestReport] = []
    livecheck = of_livecheck.livecheck(redis_url, recording(of_livecheck, reports))
    try:
        case = declare(of_case, livecheck, lambda self: None)
        assert execute(case).state is State.PASS
        assert [each.state for each in reports] == [State.PASS]
        assert not [each for each in caplog.records if each.levelno > logging.INFO]
    finally:
        livecheck.close()


def test_report_made_by_hand_is_stored(face: Face, faced: Any) -> None:
    case = declare(face, faced, fail)
    face.call(faced, faced.post_report, TestReport(NAME, State.ERROR, error="by hand"))
    face.call(faced, case.post_report, TestReport(NAME, State.ERROR, error="of the case"))
    assert sorted(outcomes(case)) == [(State.ERROR, "by hand"), (State.ERROR, "of the case")]


def test_method_of_the_livecheck_that_has_a_yield_is_named_in_the_log(
    face: Face, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def post_report(self: Any, report: TestReport) -> Any:
        yield

    async def async_post_report(self: Any, report: TestReport) -> Any:
        yield

    method = async_post_report if face.is_async else post_report
    livecheck = face.livecheck(redis_url, type("Yielding", (face.LiveCheck,), {"post_report": method}))
    try:
        case = declare(face, livecheck, lambda self: None)
        assert execute(case).state is State.PASS
        assert "LiveCheck.post_report() has a yield, so its code is not executed" in caplog.text
    finally:
        livecheck.close()


def test_case_that_overrides_the_method_decides_whether_the_livecheck_gets_the_report(
    face: Face, redis_url: str
) -> None:
    reports: list[TestReport] = []
    livecheck = face.livecheck(redis_url, recording(face, reports))
    try:
        case = declare(face, livecheck, lambda self: None, post_report=face.method(lambda self, report: None))
        assert execute(case).state is State.PASS
        assert reports == []
        assert outcomes(case) == [(State.PASS, None)]
    finally:
        livecheck.close()


def stumble(kind: type[BaseException]) -> None:
    raise kind("broken")


@pytest.mark.parametrize("kind", [SuiteFailed, ValueError, KeyboardInterrupt])
def test_failure_of_the_suite_is_reported_once_with_its_traceback(face: Face, faced: Any, kind: Any) -> None:
    case = declare(face, faced, fail)
    with pytest.raises(kind) as caught:
        stumble(kind)
    for _ in range(2):
        face.call(faced, case.on_suite_fail, caught.value)
    [report] = faced.runtime.store.reports.latest([NAME], count=10)
    assert (report.state, report.test, report.error) == (State.FAIL, None, "broken")
    assert 'raise kind("broken")' in report.traceback
    assert f"{kind.__name__}: broken" in report.traceback
    assert case.status is State.FAIL


def test_one_failure_of_two_suites_is_reported_for_each(face: Face, faced: Any) -> None:
    first, second = (faced.add_case(type("test_order", (face.Case,), {}), name=name) for name in ("first", "second"))
    down = SuiteFailed("the database is down")
    for case in (first, second, first, second):
        face.call(faced, case.on_suite_fail, down)
    assert outcomes(first) == outcomes(second) == [(State.FAIL, "the database is down")]


def test_failure_of_the_suite_without_a_message_is_reported_by_its_type(
    face: Face, faced: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError("no message")

    for error in (KeyError(), Unprintable()):
        case = faced.add_case(type("test_order", (face.Case,), {}), name=type(error).__name__)
        face.call(faced, case.on_suite_fail, error)
        assert outcomes(case) == [(State.FAIL, type(error).__name__)]
        assert f"case {case.name}: FAIL: {type(error).__name__}" in caplog.messages


@pytest.mark.parametrize("again", [True, False], ids=["the same", "another"])
def test_hook_that_raises_suite_failed_itself_reports_nothing_more(
    face: Face, faced: Any, again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def on_suite_fail(self: Any, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        face.Case.on_suite_fail(self, exc, new_state)
        raise exc if again else SuiteFailed("of the hook")

    async def async_on_suite_fail(self: Any, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        await face.Case.on_suite_fail(self, exc, new_state)
        raise exc if again else SuiteFailed("of the hook")

    hook = async_on_suite_fail if face.is_async else on_suite_fail
    case = declare(face, faced, fail, on_suite_fail=hook)
    execute(case)
    suite = [error for _, error in outcomes(case) if error == "1 tests failed in a row (limit 1)"]
    assert len(suite) == 1
    assert len(outcomes(case)) == 2
    [raised] = [each for each in caplog.records if each.getMessage().endswith("on_suite_fail() raised")]
    assert raised.exc_info
