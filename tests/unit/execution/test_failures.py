"""Failures as one line of text."""

from livecheck_celery.execution.failures import describe

HOSTILE = "\x1b[31mred\r\nFAKE LOG LINE"
HARMLESS = "?[31mred FAKE LOG LINE"


def test_description_has_no_control_characters() -> None:
    assert describe(ValueError(HOSTILE)) == f"ValueError: {HARMLESS}"
