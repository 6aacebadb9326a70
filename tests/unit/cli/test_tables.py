"""Tables that fit a terminal."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console

from livecheck_celery.cli.tables import Column, FittedTable

COLUMNS = (
    Column("CASE", min_width=10, cut_start=True),
    Column("STATUS"),
    Column("DETAIL", drop=1),
    Column("ERROR", min_width=8),
)
ROWS = [
    ("company.orders.checks.test_order", "PASS", "0.250 s", ""),
    ("shop.test_payment", "FAIL", "12.000 s", "the side is buy (checks.py:43)"),
]


def printed(table: FittedTable, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_wide_terminal_shows_everything() -> None:
    header, _, *rows = printed(FittedTable(COLUMNS, ROWS), 120)
    assert [header, *rows] == FittedTable(COLUMNS, ROWS).plain_lines()


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in range(1, 90):
        lines = printed(FittedTable(COLUMNS, ROWS), width)
        assert len(lines) == 4
        assert max(map(cell_len, lines)) <= width


def test_cells_are_cut_before_columns_are_left_out() -> None:
    assert printed(FittedTable(COLUMNS, ROWS), 60)[2:] == [
        "….checks.test_order  PASS    0.250 s",
        "shop.test_payment    FAIL    12.000 s  the side is buy (che…",
    ]


def test_columns_are_left_out_before_cells_get_too_short() -> None:
    header, _, *rows = printed(FittedTable(COLUMNS, ROWS), 30)
    assert header.split() == ["CASE", "STATUS", "ERROR"]
    assert rows == ["…st_order  PASS", "…_payment  FAIL    the side i…"]


def test_wide_characters_count_twice() -> None:
    table = FittedTable([Column("CASE", cut_start=True, min_width=4)], [["注文.検査.注文の試験"]])
    assert printed(table, 9)[2] == "…文の試験"


def test_table_without_header_has_rows_only() -> None:
    assert printed(FittedTable(COLUMNS, ROWS[1:], header=False), 100) == [
        "shop.test_payment  FAIL  12.000 s  the side is buy (checks.py:43)"
    ]


def test_control_characters_in_cells_are_sanitized() -> None:
    assert printed(FittedTable([Column("ID")], [["a\x1b[31mb\nc"]]), 80)[2:] == ["a?[31mb c"]
