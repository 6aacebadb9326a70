"""Log calls in ``run()``: none decides a verdict."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    State,
)
from tests.helpers.order_case import declare, execute


class Unprintable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error

    __str__ = __repr__


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise self.error

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


@pytest.fixture(params=[ValueError("I/O operation on closed file"), SystemExit(3)], ids=repr)
def broken_handler(request: pytest.FixtureRequest) -> Iterator[None]:
    handler = Broken(request.param)
    logger = logging.getLogger("livecheck_celery")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.promise("Logging in a test never decides its verdict.", theme="verdicts")
@pytest.mark.parametrize("realtime_logs", [False, True])
def test_wrong_arguments_of_a_log_line_decide_nothing(
    livecheck: LiveCheck, realtime_logs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def run(self: Case) -> None:
        self.log.info("%d", "x")
        self.log.info("%s %s", *["one"])
        self.log.info("by name %(side)s", {"side": "buy"})
        self.log.info("no arguments", *["surplus"])
        for error in (ZeroDivisionError(), SystemExit(3), KeyboardInterrupt()):
            self.log.info("%r", Unprintable(error))
            self.log.info(Unprintable(error))
        for method in ("debug", "info", "warning", "error", "critical", "exception", "log"):
            getattr(self.log, method)()
        self.log.info("%s", "x" * 1_000_000)
        self.log.info("100 %")
        self.log.log("INFO", "a level of text")

    case = declare(livecheck, run, realtime_logs=realtime_logs)
    with caplog.at_level(logging.INFO):
        runner = execute(case)
    assert runner.state is State.PASS, runner.error
    text = "\n".join(caplog.messages)
    for expected in (
        "'%d' % ('x',) (TypeError",
        "by name buy",
        "'no arguments' % ('surplus',)",
        "100 %",
        "Unprintable",
    ):
        assert expected in text
    assert "(1000000 characters)" in text
    assert "a level of text" in text
    assert len(text) < 10_000


def test_handler_that_raises_decides_nothing(livecheck: LiveCheck, broken_handler: None) -> None:
    def run(self: Case) -> None:
        self.log.error("one")
        self.log.error("two", exc_info=ValueError())

    base = type("Hooked", (Case,), {"on_test_pass": lambda self, runner: 1 / 0})
    case = declare(livecheck, run, base=base)
    assert execute(case).state is State.PASS
    assert case.total_by_state == Counter(PASS=1)


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_exception_that_is_logged_with_an_unprintable_value_decides_nothing(
    livecheck: LiveCheck, error: BaseException, broken_handler: None
) -> None:
    def run(self: Case) -> None:
        self.log.error("%r", Unprintable(error), exc_info=ValueError())

    assert execute(declare(livecheck, run)).state is State.PASS


def test_closed_stderr_decides_nothing(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/null", "w") as closed:  # noqa: PTH123 - a file for sys.stderr
        pass
    monkeypatch.setattr(sys, "stderr", closed)
    handler = logging.StreamHandler(closed)
    logger = logging.getLogger("livecheck_celery")
    logger.addHandler(handler)
    try:
        runner = execute(declare(livecheck, lambda self: self.log.error("%d", "x")))
    finally:
        logger.removeHandler(handler)
    assert runner.state is State.PASS, runner.error


@pytest.mark.parametrize(("line", "kept"), [("%d", 1_000), ("%2000d", 32)])
def test_lines_of_a_test_are_bounded(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture, line: str, kept: int
) -> None:
    def run(self: Case) -> None:
        for number in range(5_000):
            self.log.info(line, number)

    with caplog.at_level(logging.INFO):
        execute(declare(livecheck, run))
    record = next(record for record in caplog.records if "logged:" in record.getMessage())
    assert record.getMessage().endswith(f"{line % (kept - 1)}\n  … and {5_000 - kept} more lines")
