"""Output for people and for pipes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from livecheck_celery.cli import console
from livecheck_celery.models import State

HEADERS = ("CASE", "STATUS", "TESTS")
ROWS = [("shop.test_order[1]", console.state(State.FAIL), "FAIL 1"), ("shop.b", console.state(State.PASS), "none")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0123, "0.012 s"),
        (42.04, "42.0 s"),
        (90, "90.0 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "never"), (3.4, "3 s ago"), (90, "90 s ago"), (300, "5 min ago")])
def test_ages_say_how_long_ago(seconds: float | None, text: str) -> None:
    assert console.age(seconds) == text


def test_what_steers_a_terminal_is_made_harmless() -> None:
    assert console.sanitize("a\nb\x1b[31m c") == "a b?[31m c"


def test_a_piped_table_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(HEADERS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "CASE                STATUS  TESTS",
        "shop.test_order[1]  FAIL    FAIL 1",
        "shop.b              PASS    none",
    ]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal is sent; its width is in COLUMNS."""
    screen = io.StringIO()

    def open_screen(**options: object) -> Console:
        return Console(file=screen, force_terminal=True, color_system="standard", **options)

    monkeypatch.setattr(console, "Console", open_screen)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_a_table_at_a_terminal_is_coloured(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.table(HEADERS, ROWS)
    lines = terminal.getvalue().splitlines()
    assert "───" in lines[1]
    assert lines[2].startswith("shop.test_order[1]")
    assert "\x1b[1;31mFAIL" in lines[2]
    assert "\x1b[32mPASS" in lines[3]


def test_a_table_too_wide_for_the_terminal_is_a_block_for_each_row(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    console.table(HEADERS, ROWS)
    lines = terminal.getvalue().splitlines()
    assert "shop.test_order[1]" in lines[0]
    assert lines[1] == "  tests   FAIL 1"
    assert len(lines) == 4
