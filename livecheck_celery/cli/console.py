"""Output: colours and tables for people at a terminal, plain lines for pipes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from livecheck_celery.models import State
from livecheck_celery.utils.sanitize import sanitize, sanitize_lines

STYLES: Final = {
    State.PASS: "green",
    State.FAIL: "bold red",
    State.ERROR: "bold red",
    State.TIMEOUT: "bold yellow",
    State.STALL: "bold magenta",
    State.SKIP: "dim",
    State.INIT: "dim",
}

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
_FINE: Final = 10  # seconds; below, milliseconds matter
_FEW: Final = 120  # seconds; below, tenths matter


def console() -> Console:
    """Where to print; colours only at a terminal, and not after ``celery --no-color``."""
    context = click.get_current_context(silent=True)
    no_color = bool(getattr(context.obj, "no_color", False)) if context else False
    return Console(highlight=False, soft_wrap=True, no_color=no_color or None)


def line(*parts: str | Text) -> None:
    """Print one line, whole however narrow the terminal; text may come from a user of the system under test."""
    console().print(Text.assemble(*(_fit(part) for part in parts)))


def lines(text: str) -> None:
    """Print text of more than one line, such as a traceback."""
    console().print(Text(sanitize_lines(text)))


def state(value: State, width: int = 0) -> Text:
    """A state, in its colour, at least ``width`` characters wide."""
    return Text(f"{value:<{width}}", style=STYLES[value])


def table(headers: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table of which nothing is cut; at a terminal too narrow for it, a block for each row."""
    out = console()
    fit = [[_fit(cell) for cell in row] for row in rows]
    plain = [list(headers), *([str(cell) for cell in row] for row in fit)]
    widths = [max(len(cells[column]) for cells in plain) for column in range(len(headers))]
    if not out.is_terminal:
        for cells in plain:
            line("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    elif sum(widths) + 2 * (len(widths) - 1) <= out.width:
        grid = Table(*headers, box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
        grid.show_edge = False
        for row in fit:
            grid.add_row(*row)
        out.print(grid, soft_wrap=False)
    else:
        for row in fit:
            _block(headers, row)


def _fit(part: str | Text) -> Text:
    return part if isinstance(part, Text) else Text(sanitize(part))


def _block(headers: Sequence[str], row: Sequence[Text]) -> None:
    line(Text.assemble((str(row[0]), "bold"), "  ", row[1]))
    width = max(len(header) for header in headers)
    for header, cell in zip(headers[2:], row[2:], strict=True):
        line(f"  {header.lower():<{width}}  ", cell)


def duration(seconds: float | None) -> str:
    """Seconds for people: ``0.012 s``, ``42.0 s``, ``5 min``, ``3 h``, ``2 d``; ``-`` for None."""
    if seconds is None:
        return "-"
    if seconds < _FINE:
        return f"{seconds:.3f} s"
    return f"{seconds:.1f} s" if seconds < _FEW else _rounded(seconds)


def age(seconds: float | None) -> str:
    """How long ago: ``12 s ago``; ``never`` for None."""
    return "never" if seconds is None else f"{_rounded(seconds)} ago"


def _rounded(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def clock(timestamp: float) -> str:
    """Seconds since the epoch as a date and time in UTC."""
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%SZ}"
