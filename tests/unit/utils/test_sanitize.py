"""Text from outside is one line in a log, without control characters."""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import regex

import livecheck_celery
from livecheck_celery.utils.sanitize import get_logger, is_printable, sanitize, sanitize_lines

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


EVERY_CHARACTER = [chr(number) for number in range(0x110000)]


@pytest.mark.promise(
    "Characters without a shape are replaced in log lines and in the output of commands.", theme="input"
)
def test_no_character_that_unicode_lets_programs_ignore_is_printed() -> None:
    ignorable = regex.compile(r"\p{Default_Ignorable_Code_Point}")
    found = [each for each in EVERY_CHARACTER if ignorable.match(each)]
    assert len(found) > 4_000
    assert {sanitize(each) for each in found} == {"?"}
    assert not any(map(is_printable, found))


@pytest.mark.parametrize(
    "blank",
    ["\u115f", "\u1160", "\u17b4", "\u2800", "\u3164", "\uffa0", "\ufe0f", "\U000e0041", "\U000e0100", "\U0001d159"],
)
def test_blank_characters_cannot_hide_in_an_id(blank: str) -> None:
    assert sanitize(f"order-1{blank}") == "order-1?"
    assert not sanitize(f"{blank} {blank}").isspace()


def test_white_space_is_a_space() -> None:
    spaces = [each for each in EVERY_CHARACTER if each.isspace()]
    assert {sanitize(each) for each in spaces} == {" "}


def test_visible_characters_are_printed() -> None:
    unseen = regex.compile(r"[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]")
    replaced = {each for each in EVERY_CHARACTER if not is_printable(each) and not unseen.match(each)}
    known = "\u2800\u2d7f\U0001107f\U00011a47\U00011a99\U00013441\U00013442\U00016fe4\U0001d159"  # blank
    assert all(unicodedata.category(each) == "Cn" for each in replaced - set(known))  # newer than this Python


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
    own = re.compile(r'logging\.getLogger\((?!"httpx"\))')
    loggers = [path for path in root.rglob("*.py") if own.search(path.read_text())]
    assert loggers == [root / "utils" / "sanitize.py"]
