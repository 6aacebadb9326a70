"""Log lines of a test."""

from __future__ import annotations

import logging

import pytest

from livecheck_celery import Case, LiveCheck, LiveCheckTestTimeout, State, TestRunner
from tests.helpers.order_case import declare, execute


def test_log_lines_of_a_passing_test_are_one_record(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    def run(self: Case) -> None:
        self.log.info("first %s", "line")
        self.current_execution.log_info("second")
        self.current_execution.log.info("third %s", "line")
        assert not caplog.records

    case = declare(livecheck, run)
    with caplog.at_level(logging.INFO, "livecheck_celery.case.shop.test_order"):
        assert execute(case).state is State.PASS
    record, _ = caplog.records
    assert record.getMessage() == "[test_order:o-1] PASS; logged:\n  first line\n  second\n  third line"


def test_logger_of_a_runner_logs_at_once_after_the_verdict(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    class Base(Case):
        def on_test_pass(self, runner: TestRunner) -> None:
            runner.log.warning("a %s", "hook")

    case = declare(livecheck, lambda self: None, base=Base)
    assert execute(case).state is State.PASS
    assert [record.getMessage() for record in caplog.records] == ["[test_order:o-1] a hook"]


def test_realtime_logs_are_emitted_immediately(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    def run(self: Case) -> None:
        self.log.warning("now")
        assert [record.getMessage() for record in caplog.records] == ["[test_order:o-1] now"]

    case = declare(livecheck, run, realtime_logs=True)
    with caplog.at_level(logging.INFO, "livecheck_celery.case.shop.test_order"):
        assert execute(case).state is State.PASS


def test_logged_exception_has_its_traceback(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("no price")

    def run(self: Case) -> None:
        self.log.error("broken", exc_info=error)
        assert [record.exc_info[1] for record in caplog.records] == [error]

    assert execute(declare(livecheck, run)).state is State.PASS


@pytest.mark.promise("Each case has its own logger; a verdict is one line.", theme="verdicts")
def test_verdict_is_one_line_of_the_logger_of_the_case(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    def run(self: Case) -> None:
        self.sent.wait(timeout=0.01)

    case = declare(livecheck, run)
    with caplog.at_level(logging.INFO):
        execute(case)
    [record] = [record for record in caplog.records if record.getMessage().startswith("runner: ")]
    assert record.name == case.logger.name == "livecheck_celery.case.shop.test_order"
    assert record.levelno == logging.ERROR
    head, _, rest = record.getMessage().partition(" in ")
    seconds, _, error = rest.partition(": ")
    assert head == "runner: shop.test_order:o-1: TIMEOUT"
    assert 0.01 <= float(seconds.removesuffix(" s")) < 5
    assert error == "signal sent (1 of 2) did not arrive within 0.01 s; no signal has arrived"
    assert record.exc_info[0] is LiveCheckTestTimeout


def test_logger_of_a_subclass_is_kept(livecheck: LiveCheck) -> None:
    own = logging.getLogger("shop.checks")
    base = type("Own", (Case,), {"logger": own})
    assert declare(livecheck, lambda self: None, base=base).logger is own
