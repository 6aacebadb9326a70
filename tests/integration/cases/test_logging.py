"""Log lines of a test."""

from __future__ import annotations

import logging

import pytest

from livecheck_celery import Case, LiveCheck, State
from tests.helpers.order_case import declare, execute


def test_log_lines_of_a_passing_test_are_one_record(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    def run(self: Case) -> None:
        self.log.info("first %s", "line")
        self.current_execution.log_info("second")
        assert not caplog.records

    case = declare(livecheck, run)
    with caplog.at_level(logging.INFO, "livecheck_celery.cases.case"):
        assert execute(case).state is State.PASS
    [record] = caplog.records
    assert record.getMessage() == "[test_order:o-1] PASS; logged:\n  first line\n  second"


def test_realtime_logs_are_emitted_immediately(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    def run(self: Case) -> None:
        self.log.warning("now")
        assert [record.getMessage() for record in caplog.records] == ["[test_order:o-1] now"]

    case = declare(livecheck, run, realtime_logs=True)
    with caplog.at_level(logging.INFO, "livecheck_celery.cases.case"):
        assert execute(case).state is State.PASS
