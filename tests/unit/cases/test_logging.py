"""Log lines of a case outside a test, and its diagnostic flags."""

from __future__ import annotations

import logging

import pytest

from livecheck_celery import Case, LiveCheck


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
