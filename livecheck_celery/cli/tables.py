"""Tables with one line per row that fit the width of a terminal, and are complete in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from livecheck_celery.cli.streams import printable
from livecheck_celery.utils.sanitize import sanitize

_GAP = 2  # between two columns


class Column(NamedTuple):
    """A column of a `FittedTable`.

    Attributes:
        header: its header.
        drop: position in the order in which columns are left out of a table that is too wide, the lowest first;
            None for a column that is always shown.
        min_width: cells may be cut to this width before a column is left out; None for cells that are not cut.
        cut_start: whether the start of a cell is cut, which keeps the last parts of a dotted name.
    """

    header: str
    drop: int | None = None
    min_width: int | None = None
    cut_start: bool = False


class FittedTable:
    """A table that is never wider than the terminal, with one line per row.

    Cells that do not fit are cut with an ellipsis, then columns are left out.

    Args:
        columns: all columns.
        rows: a cell for each column; a plain string is sanitized.
        header: whether to print the headers.
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], *, header: bool = True) -> None:
        self._columns = columns
        self._rows = rows
        self._header = header

    def plain_lines(self) -> list[str]:
        """Return the whole table as text, for a pipe."""
        rows = [[_as_line(cell) for cell in row] for row in self._rows]
        if self._header:
            rows.insert(0, [column.header for column in self._columns])
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield a rich table of the columns that fit into ``options.max_width``."""
        grid = Table(
            box=SIMPLE_HEAD if self._header else None,
            show_header=self._header,
            show_edge=False,
            header_style="bold",
            padding=(0, _GAP - 1 if self._header else _GAP, 0, 0),  # the box adds a space between two columns
            pad_edge=False,
        )
        rows = [[_as_text(cell) for cell in row] for row in self._rows]
        shown = self._columns_within(options.max_width, rows)
        for index in shown:
            column = self._columns[index]
            # Rich shrinks the columns that may wrap. Their cells may not, so rich cuts them.
            grid.add_column(_as_text(column.header), no_wrap=column.min_width is None, overflow="ellipsis")
        for row in rows:
            grid.add_row(*(self._renderable(row[index], index) for index in shown))
        yield grid

    def _renderable(self, cell: Text, index: int) -> Text | _CutStart:
        return _CutStart(str(cell)) if self._columns[index].cut_start else cell

    def _columns_within(self, width: int, rows: Sequence[Sequence[Text]]) -> list[int]:
        shown = list(range(len(self._columns)))
        least = [self._least_width(index, rows) for index in shown]
        for _, index in sorted((each.drop, index) for index, each in enumerate(self._columns) if each.drop is not None):
            if sum(least[each] for each in shown) + _GAP * (len(shown) - 1) <= width:
                break
            shown.remove(index)
        return shown

    def _least_width(self, index: int, rows: Sequence[Sequence[Text]]) -> int:
        column = self._columns[index]
        least = max((row[index].cell_len for row in rows), default=0)
        if column.min_width is not None:
            least = min(least, column.min_width)
        return max(least, cell_len(column.header) if self._header else 0)


class _CutStart:
    """Text that is cut at its start, not at its end, if it does not fit."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, cell_len(self._text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        end = self._text
        if cell_len(end) > options.max_width:
            while end and cell_len(end) >= options.max_width:
                end = end[1:]
            end = f"…{end}"
        yield Text(end, no_wrap=True, overflow="crop")


def _as_line(cell: str | Text) -> str:
    return cell.plain if isinstance(cell, Text) else printable(sanitize(cell), sys.stdout)  # escapes are wider


def _as_text(cell: str | Text) -> Text:
    text = cell.copy() if isinstance(cell, Text) else Text(_as_line(cell))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
