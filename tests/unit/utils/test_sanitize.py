"""Text from outside is one line in a log, without control characters."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import livecheck_celery
from livecheck_celery.utils.sanitize import get_logger, sanitize, sanitize_lines

HOSTILE = "\x1b[31mred\r\nFAKE LOG LINE"
HARMLESS = "?[31mred FAKE LOG LINE"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("order 42", "order 42"),
        ("  two  spaces ", "  two  spaces "),
        ("Bestellung für 日本 \N{GRINNING FACE}", "Bestellung für 日本 \N{GRINNING FACE}"),
        ("{order} %s %(x)s [red]", "{order} %s %(x)s [red]"),
        (HOSTILE, HARMLESS),
        ("nul\0, bell\a, delete\x7f, C1 \x9b31m", "nul?, bell?, delete?, C1 ?31m"),
        ("tab\there, next line\x85, line\u2028separator", "tab here, next line , line separator"),
        ("right to left \u202eoverride, no width\u200b", "right to left ?override, no width?"),
        ("half a pair \ud800", "half a pair ?"),
    ],
)
def test_sanitized_text_is_one_line_without_control_characters(text: str, shown: str) -> None:
    assert sanitize(text) == shown
    assert sanitize(text).isprintable()


def test_sanitized_lines_are_indented() -> None:
    assert sanitize_lines(f"Traceback:\n  File\nValueError: {HOSTILE}") == (
        "Traceback:\n  File\n  ValueError: ?[31mred\n  FAKE LOG LINE"
    )


class Hostile:
    def __repr__(self) -> str:
        return HOSTILE


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """The output of LiveCheck's loggers."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root = logging.getLogger("livecheck_celery")
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def test_log_record_is_one_line_for_any_arguments(logged: io.StringIO) -> None:
    logger = get_logger(f"livecheck_celery.{uuid4().hex}")
    logger.error("test %s, number %d: %s", HOSTILE, 7, ValueError(HOSTILE))
    assert logged.getvalue() == f"ERROR test {HARMLESS}, number 7: {HARMLESS}\n"


def test_logged_traceback_is_indented(logged: io.StringIO) -> None:
    try:
        _ = {}[Hostile()]
    except KeyError:
        get_logger(f"livecheck_celery.{uuid4().hex}").exception("failed: %s", HOSTILE)
    first, *others = logged.getvalue().splitlines()
    assert first == f"ERROR failed: {HARMLESS}"
    assert others[0] == "Traceback (most recent call last):"
    assert others[-2:] == ["  KeyError: ?[31mred", "  FAKE LOG LINE"]
    assert all(line.startswith("  ") for line in others[1:])


def test_every_logger_sanitizes() -> None:
    root = Path(livecheck_celery.__file__).parent
    loggers = [path for path in root.rglob("*.py") if "logging.getLogger(" in path.read_text()]
    assert loggers == [root / "utils" / "sanitize.py"]
