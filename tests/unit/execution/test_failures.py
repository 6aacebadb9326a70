"""Failures as one line of text."""

from __future__ import annotations

import pytest

from livecheck_celery import LiveCheckTestTimeout
from livecheck_celery.execution.failures import describe
from livecheck_celery.utils.sanitize import traceback_of
from tests.helpers.factories import BrokenStr

HOSTILE = "\x1b[31mred\r\nFAKE LOG LINE"
HARMLESS = "?[31mred FAKE LOG LINE"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("price"), "KeyError: 'price'"),
        (ValueError(), "ValueError"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (LiveCheckTestTimeout("signal sent did not arrive"), "signal sent did not arrive"),
        (AssertionError("never raised"), "never raised"),
        (AssertionError(), ""),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 1988),
        (BrokenStr(), "BrokenStr"),
    ],
    ids=["error", "no message", "lines", "of LiveCheck", "assertion", "empty assertion", "long", "broken __str__"],
)
def test_description_is_one_line_with_the_type_of_other_errors(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_description_of_an_assertion_has_its_file_and_line() -> None:
    with pytest.raises(AssertionError) as caught:
        raise AssertionError("the side is buy")
    assert describe(caught.value) == f"the side is buy (test_failures.py:{caught.traceback[-1].lineno + 1})"


def test_long_message_leaves_room_for_the_place() -> None:
    with pytest.raises(ValueError, match="xxx") as caught:
        raise ValueError("x" * 10_000)
    text = describe(caught.value)
    assert len(text) == 2_000
    assert text.endswith(f"xxx (test_failures.py:{caught.traceback[-1].lineno + 1})")


def test_description_has_no_control_characters() -> None:
    assert describe(ValueError(HOSTILE)) == f"ValueError: {HARMLESS}"


def test_long_traceback_is_cut_at_its_beginning() -> None:
    text = traceback_of(ValueError("x" * 20_000 + "end"))
    assert len(text) == 16_000
    assert text.endswith("xend\n")
