"""The shape that all benchmarks share: medians of pairs, spread, targets, JSON, and the cells of the table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.progress import Progress

from benchmarks.measuring import COLUMNS, Row, Steps, Target, measure_pairs, number, percentile, spread

PAIRS = [(1.0, 10.0), (9.0, 10.0), (2.0, 10.0), (3.0, 20.0), (4.0, 10.0)]


def row(target: Target | None = None, **fields: str) -> Row:
    return Row.of_pairs("name", "a call", PAIRS, beside="another", unit="µs", target=target, **fields)


def test_ratio_is_the_median_of_the_ratios_and_not_the_ratio_of_the_medians() -> None:
    one = row()
    assert (one.ours, one.peer) == (3.0, 10.0)
    assert one.ratio == pytest.approx(0.2)
    assert (one.low, one.high) == pytest.approx((0.15, 0.4))
    assert one.runs == 5


def test_spread_is_of_what_the_target_is_about() -> None:
    assert row(Target(3, of_value=True)).low == 2.0
    assert row(Target(3, of_value=True)).high == 4.0


def test_spread_of_few_values_is_from_the_least_to_the_greatest() -> None:
    assert spread([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert spread([4.0, 1.0, 2.0, 3.0]) == (1.75, 3.25)


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(
    ("target", "text", "reached"),
    [
        (Target(0.2), "<= 0.2x", True),
        (Target(0.1), "<= 0.1x", False),
        (Target(0.8, at_least=True), ">= 0.8x", False),
        (Target(3, of_value=True), "<= 3 µs", True),
        (Target(1_000, of_value=True, at_least=True), ">= 1,000 µs", False),
    ],
)
def test_target_is_of_the_ratio_or_of_the_value(target: Target, text: str, reached: bool) -> None:
    assert target.text("µs") == text
    assert row(target).reached is reached


def test_row_without_a_peer_reaches_no_target_that_needs_one() -> None:
    one = Row.alone("name", "a call", [1.0, 2.0], unit="s", target=Target(0.2))
    assert one.reached is None
    assert one.cells()[-1] == "not compared"


def test_row_survives_json() -> None:
    for one in (row(Target(0.2), note="a note"), row(), Row.alone("name", "a call", [1.0], unit="s")):
        stored = json.loads(json.dumps(one.as_json()))
        assert Row.from_json(stored) == one
        assert set(stored) >= {"name", "what", "beside", "unit", "ours", "peer", "ratio", "low", "high", "target"}
    assert row(Target(0.2)).as_json()["reached"] is True
    assert row(Target(0.2)).as_json()["target"]["text"] == "<= 0.2x"


def test_cells_say_whether_the_target_is_reached() -> None:
    cells = dict(zip(COLUMNS, row(Target(0.1), note="in memory").cells(), strict=True))
    assert cells == {
        "what": "a call (in memory)",
        "LiveCheck": "3 µs",
        "beside": "another",
        "its value": "10 µs",
        "ratio": "0.2x",
        "spread": "0.15 to 0.4x, 5 runs",
        "target": "<= 0.1x",
        "reached": "**no**",
    }
    assert row(Target(0.2)).cells()[-1] == "yes"
    assert row().cells()[-1] == ""


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (0.0, 0.12345, 1.2345, 12.345, 123.45, 1234.5)] == [
        "0",
        "0.123",
        "1.23",
        "12.3",
        "123",
        "1,234",
    ]


@pytest.fixture
def steps() -> Iterator[Steps]:
    with Progress(console=Console(file=io.StringIO())) as progress:
        yield Steps(progress, "test")


def test_every_second_pair_begins_with_the_peer(steps: Steps) -> None:
    order: list[str] = []

    def measure(which: str) -> str:
        order.append(which)
        return which

    pairs = measure_pairs(3, lambda: measure("ours"), lambda: measure("peer"), steps)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert pairs == [("ours", "peer")] * 3
