"""The results that ``demo`` shows: the status of each case, and the place of its first failure."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Final

from rich.console import Group
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.liveness import MAX_SILENCE, silence_warnings
from livecheck_celery.cli.tables import Column, FittedTable
from livecheck_celery.models import State, TestReport
from livecheck_celery.store import Store
from livecheck_celery.store.statistics import Statistics, stalled_after
from livecheck_celery.utils.sanitize import sanitize

FAILED: Final = (State.FAIL, State.ERROR, State.TIMEOUT)
COLUMNS: Final = (
    Column("CASE", min_width=10, cut_start=True),
    Column("STATUS"),
    Column("TESTS", min_width=18),
    Column("PASSED"),
    Column("RUNTIME", drop=1),
    Column("LATEST REPORT", drop=2, min_width=13),
    Column("FIRST FAILED AT"),
)
_SIGNAL: Final = re.compile(r"signal (\w+) ")  # start of the error of a timeout


class DemoTable:
    """A rich renderable with one row per case, warnings, and the first failure of each case.

    Args:
        store: the store to read; `refresh` reads it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._warnings: list[str] = []
        self._warn_from = time.monotonic() + MAX_SILENCE  # beat and the workers have just been started
        self._positions: dict[str, str] = {}
        self._statistics: dict[str, Statistics] = {}
        self._latest: dict[str, TestReport] = {}
        self._first_failures: dict[str, TestReport] = {}

    def refresh(self) -> None:
        """Read the statistics of all cases, and their new reports.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        cases = self._store.registry.cases()
        names = sorted(cases)
        self._statistics = {
            name: self._store.suites.statistics(name, stalled_after=stalled_after(cases[name])) for name in names
        }
        if time.monotonic() > self._warn_from:
            self._warnings = silence_warnings(self._store.liveness.read())
        for name in names:
            self._positions.setdefault(name, "0-0")
        for report in self._store.reports.follow(names, self._positions, block=0):
            self._latest[report.case_name] = report
            if not report.state.is_ok():
                self._first_failures.setdefault(report.case_name, report)

    def __rich__(self) -> Group:
        """Return the table, with failures and warnings below it."""
        rows = [self._row(name, statistics) for name, statistics in self._statistics.items()]
        below = [*self._failures(), *self._warnings]
        return Group(FittedTable(COLUMNS, rows), *(Text(sentence, style="red") for sentence in below))

    def lines(self) -> list[str]:
        """Return one line per case, and the warnings, for a pipe."""
        return [self._line(name, statistics) for name, statistics in self._statistics.items()] + self._warnings

    def all_passed(self) -> bool:
        """Return whether at least one test passed, no test failed, and no suite is failing."""
        totals = self._totals()
        suites_ok = all(statistics.status.is_ok() for statistics in self._statistics.values())
        return bool(totals[State.PASS]) and not _failed(totals) and not self._first_failures and suites_ok

    def summary(self) -> str:
        """Return the first failure of each case, and the number of tests that passed or failed."""
        totals = self._totals()
        finished = totals[State.PASS] + _failed(totals)
        if not finished:
            counted = "No test got a verdict."
        elif _failed(totals):
            counted = f"{_failed(totals)} of {finished} tests failed."
        else:
            counted = f"{finished} of {finished} tests passed."
        return "\n".join([*self._failures(), counted])

    def _row(self, name: str, statistics: Statistics) -> list[str | Text]:
        totals = statistics.total_by_state
        failure = self._first_failures.get(name)
        return [
            _short(name),
            console.state(statistics.status),
            console.counts(totals),
            _pass_rate(totals),
            console.duration(statistics.runtime_avg),
            _latest(self._latest.get(name)),
            Text(_place(failure), style="red") if failure else "",
        ]

    def _line(self, name: str, statistics: Statistics) -> str:
        totals = statistics.total_by_state
        failure = self._first_failures.get(name)
        return (
            f"{_short(name)} {statistics.status}: {console.counts(totals) or 'no verdict yet'}; "
            f"{_pass_rate(totals)} passed, median runtime {console.duration(statistics.runtime_avg)}"
            + (f"; first failed at {_failure(failure)}" if failure else "")
        )

    def _failures(self) -> list[str]:
        return [f"{_short(name)} first failed at {_failure(report)}." for name, report in self._first_failures.items()]

    def _totals(self) -> Counter[State]:
        return sum((statistics.total_by_state for statistics in self._statistics.values()), Counter[State]())


def _failure(report: TestReport) -> str:
    return sanitize(f"{_place(report)}: {report.error}")


def _place(report: TestReport) -> str:
    """Return the signal that did not arrive, or the last one that did before the test failed."""
    if report.test is None:
        return "the suite"
    if report.state is State.TIMEOUT and (named := _SIGNAL.match(report.error or "")):
        return named[1]
    return sanitize(next(reversed(report.signal_latency), "run()"))


def _short(case_name: str) -> str:
    return sanitize(case_name.rpartition(".")[2])


def _failed(totals: Counter[State]) -> int:
    return sum(totals[state] for state in FAILED)


def _pass_rate(totals: Counter[State]) -> str:
    finished = totals[State.PASS] + _failed(totals)
    return f"{totals[State.PASS] / finished:.0%}" if finished else "-"


def _latest(report: TestReport | None) -> Text:
    if report is None:
        return Text("-", style="dim")
    subject = "the suite" if report.test is None else sanitize(report.test.id)
    return Text.assemble(console.state(report.state), f" {subject}")
