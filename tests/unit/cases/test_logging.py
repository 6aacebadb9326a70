"""Log lines of a case outside a test, and its diagnostic flags."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck
from tests.helpers.faces import FACES, Face


def test_line_outside_a_test_is_logged_at_once(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    case = livecheck.add_case(Case, name="shop.test_order")
    with caplog.at_level(logging.INFO):
        case.log.info("amount %d", 3)
    assert caplog.messages == ["amount 3"]


def test_exception_is_logged_with_its_traceback(livecheck: LiveCheck, caplog: pytest.LogCaptureFixture) -> None:
    case = livecheck.add_case(Case, name="shop.test_order")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        case.log.exception("failed")
    assert caplog.messages == ["failed"]
    assert "ZeroDivisionError" in caplog.text


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def log(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    """The logger of a case of either face; all levels are captured."""
    face: Face = request.param
    caplog.set_level(logging.DEBUG)
    return face.livecheck("redis://localhost:1/0").add_case(face.Case, name="shop.test_order").log


@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("debug", "DEBUG"),
        ("info", "INFO"),
        ("warn", "WARNING"),
        ("warning", "WARNING"),
        ("error", "ERROR"),
        ("crit", "CRITICAL"),
        ("critical", "CRITICAL"),
        ("exception", "ERROR"),
    ],
)
def test_methods_of_the_reference_log_at_their_level(
    log: Any, method: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(log, method)("amount %d", 3)
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == (level, "amount 3")


def test_dev_logs_only_for_developers(
    log: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEVLOG", raising=False)
    log.dev("hidden %d", 1)
    monkeypatch.setenv("DEVLOG", "1")
    log.dev("shown %d", 2)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [("INFO", "shown 2")]


def test_format_is_the_message_that_is_logged(log: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert log.format(logging.INFO, "amount %d", 3) == "amount %d"
    log.formatter = lambda severity, message, *args, **kwargs: f"[{severity} {len(args)}] {message}"
    assert log.format(logging.WARNING, "amount %d", 3) == "[30 1] amount %d"
    log.warning("amount %d", 3)
    assert caplog.messages == ["[30 1] amount 3"]


def test_formatter_that_raises_is_left_out(log: Any, caplog: pytest.LogCaptureFixture) -> None:
    log.formatter = lambda *_, **__: 1 / 0
    log.info("amount %d", 3)
    assert caplog.messages == ["amount 3"]
