"""Output: colours and fitted tables at a terminal, plain and complete lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from livecheck_celery.cli.tables import FittedTable
from livecheck_celery.models import State
from livecheck_celery.utils.durations import in_seconds
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
_MILLISECONDS_BELOW: Final = 10  # seconds
_TOGETHER: Final = 500  # lines; a reader that is gone shows when the next ones are written
_TENTHS_BELOW: Final = 120  # seconds


def console() -> Console:
    """Return a console for standard output; without colours in a pipe and after ``celery --no-color``."""
    context = click.get_current_context(silent=True)
    no_color = bool(getattr(context.obj, "no_color", False)) if context else False
    return Console(highlight=False, soft_wrap=True, no_color=no_color or None)


def is_terminal() -> bool:
    """Return whether standard output is a terminal; FORCE_COLOR does not make a pipe one."""
    return console().file.isatty()


def line(*parts: str | Text) -> None:
    """Print one line, uncut; parts that are plain strings are sanitized."""
    all_lines([parts])


def all_lines(rows: Iterable[Sequence[str | Text]]) -> None:
    """Print lines of parts, as `line` does; without colours they are written as they are, some hundreds at once.

    Rich takes a tenth of a millisecond for a line, and ten thousand cases have a quarter of a million.
    """
    out = console()
    if out.color_system is not None or out.is_terminal:
        for parts in rows:
            _print(out, parts)
        return
    plain: list[str] = []
    for parts in rows:
        text = "".join(part.plain if isinstance(part, Text) else sanitize(part) for part in parts)
        if text.isprintable() and not text.endswith(" "):
            plain.append(f"{text}\n")
            if len(plain) == _TOGETHER:
                _write(out, plain)
                plain = []
        else:  # rich expands tabs, and can cut spaces at the end
            _write(out, plain)
            plain = []
            _print(out, parts)
    _write(out, plain)


def _print(out: Console, parts: Sequence[str | Text]) -> None:
    out.print(Text.assemble(*(part if isinstance(part, Text) else Text(sanitize(part)) for part in parts)))


def _write(out: Console, plain: Sequence[str]) -> None:
    try:
        out.file.write("".join(plain))
        out.file.flush()
    except BrokenPipeError:
        out.print()  # rich fails as well, and ends the command, as it does for each other line


def sentence(text: Text) -> None:
    """Print a sentence: wrapped at words at a terminal, one line in a pipe."""
    console().print(text, soft_wrap=not is_terminal())


def lines(text: str) -> None:
    """Print sanitized text of several lines, such as a traceback."""
    console().print(Text(sanitize_lines(text)))


def table(fitted: FittedTable) -> None:
    """Print a table: as wide as the terminal at most, or complete in a pipe."""
    if is_terminal():
        console().print(fitted, soft_wrap=False)
    else:
        all_lines([each] for each in fitted.plain_lines())


def state(value: State, width: int = 0) -> Text:
    """Return a state in its colour, padded to ``width`` characters."""
    return Text(f"{value:<{width}}", style=STYLES[value])


def counts(totals: Mapping[State, int]) -> str:
    """Format the number of tests in each state that occurred, such as ``PASS 2, FAIL 1``."""
    return ", ".join(f"{each} {totals[each]}" for each in State if totals[each])


def duration(seconds: float | None) -> str:
    """Format seconds: ``0.000250 s``, ``0.012 s``, ``42.0 s``, ``5 min``, ``3 h``, ``2 d``; ``-`` for None."""
    if seconds is None:
        return "-"
    if seconds < _MILLISECONDS_BELOW:
        return in_seconds(seconds)
    return f"{seconds:.1f} s" if seconds < _TENTHS_BELOW else rounded(seconds)


def age(seconds: float | None) -> str:
    """Format how long ago something was: ``12 s ago``; ``never`` for None."""
    return "never" if seconds is None else f"{rounded(seconds)} ago"


def rounded(seconds: float) -> str:
    """Format seconds as a whole number of the largest unit that gives at least two: ``90 s``, ``5 min``, ``3 h``."""
    for unit, name in _UNITS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:z.0f} s"


def clock(timestamp: float) -> str:
    """Format seconds since the epoch as date and time in UTC."""
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%SZ}"
