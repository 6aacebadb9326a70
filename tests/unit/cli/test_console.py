"""Output of values and tables."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.tables import Column, FittedTable
from livecheck_celery.models import State
from livecheck_celery.utils.sanitize import sanitize
from tests.helpers.terminals import Screen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-0.0004, "0.000 s"),
        (-0.5, "-0.500 s"),
        (0.0123, "0.012 s"),
        (42.04, "42.0 s"),
        (90, "90.0 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_duration_has_few_digits(seconds: float | None, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "never"), (-0.4, "0 s ago"), (3.4, "3 s ago"), (90, "90 s ago"), (300, "5 min ago")]
)
def test_age_is_rounded(seconds: float | None, text: str) -> None:
    assert console.age(seconds) == text


def test_control_characters_are_sanitized() -> None:
    assert console.sanitize("a\nb\x1b[31m c") == "a b?[31m c"


TABLE = FittedTable(
    [Column("CASE"), Column("STATUS"), Column("TESTS")],
    [("shop.test_order[1]", console.state(State.FAIL), "FAIL 1"), ("shop.b", console.state(State.PASS), "none")],
)


def test_table_in_a_pipe_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "CASE                STATUS  TESTS",
        "shop.test_order[1]  FAIL    FAIL 1",
        "shop.b              PASS    none",
    ]


def test_lines_in_a_pipe_are_those_of_rich(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[list[str | Text]] = [
        [Text("bold", style="bold"), " [red]markup[/red] :smile: ", "1 'text' http://x.test"],
        ["注文" * 60, " ", "é" * 90],
        [Text("a\tb"), "c\td\x1b[31m"],
        ["x" * 100 + " " * 50],
        [" "],
        [""],
        [],
    ]
    console.all_lines(lines)
    plain = capsys.readouterr().out
    rich = Console(highlight=False, soft_wrap=True)
    for parts in lines:
        rich.print(Text.assemble(*(part if isinstance(part, Text) else Text(sanitize(part)) for part in parts)))
    assert plain == capsys.readouterr().out
    assert plain.splitlines()[0] == "bold [red]markup[/red] :smile: 1 'text' http://x.test"


def test_lines_in_a_pipe_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []
    out = io.StringIO()
    monkeypatch.setattr(out, "write", writes.append)
    monkeypatch.setattr(sys, "stdout", out)
    console.table(TABLE)
    assert len(writes) == 1


def test_table_at_a_terminal_is_coloured(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.table(TABLE)
    lines = screen.getvalue().splitlines()
    assert "───" in lines[1]
    assert lines[2].startswith("shop.test_order[1]")
    assert "\x1b[1;31mFAIL" in lines[2]
    assert "\x1b[32mPASS" in lines[3]
