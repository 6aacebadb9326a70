"""What the demo shows: how the cases do, and what broke first."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.support import SILENCE, silent_parts
from livecheck_celery.models import State, TestReport
from livecheck_celery.store import Store
from livecheck_celery.store.statistics import Statistics, stalled_after
from livecheck_celery.utils.sanitize import sanitize

FAILED: Final = (State.FAIL, State.ERROR, State.TIMEOUT)
_HEADERS: Final = ("CASE", "STATUS", "TESTS", "PASSED", "RUNTIME", "LATEST REPORT", "BROKE FIRST")
_ID: Final = 13  # characters of a test's id
_SIGNAL: Final = re.compile(r"signal (\w+) ")  # what a timeout says first


class Board:
    """The cases of one store, as last read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._silent: list[str] = []
        self._watch_from = time.monotonic() + SILENCE  # until then what has just been started may be silent
        self._positions: dict[str, str] = {}
        self._statistics: dict[str, Statistics] = {}
        self._latest: dict[str, TestReport] = {}
        self._broke_first: dict[str, TestReport] = {}

    def refresh(self) -> None:
        """Read the cases and their new reports.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        cases = self._store.registry.cases()
        names = sorted(cases)
        self._statistics = {
            name: self._store.suites.statistics(name, stalled_after=stalled_after(cases[name])) for name in names
        }
        self._silent = silent_parts(self._store.liveness.read()) if time.monotonic() > self._watch_from else []
        for name in names:
            self._positions.setdefault(name, "0-0")
        for report in self._store.reports.follow(names, self._positions, block=0):
            self._latest[report.case_name] = report
            if not report.state.is_ok():
                self._broke_first.setdefault(report.case_name, report)

    def table(self) -> Group:
        """The cases as a table, and under it what broke."""
        grid = Table(*_HEADERS, box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for name, statistics in self._statistics.items():
            broken = self._broke_first.get(name)
            grid.add_row(
                _short(name),
                console.state(statistics.status),
                "\n".join(_counts(statistics.total_by_state)),
                _rate(statistics.total_by_state),
                console.duration(statistics.runtime_avg),
                _headline(self._latest.get(name)),
                Text(_place(broken), style="red") if broken else "",
            )
        said = [*(f"{line}." for line in self._broken()), *self._silent]
        return Group(grid, *(Text(line, style="red") for line in said))

    def lines(self) -> list[str]:
        """The cases, one a line, for pipes."""
        return [
            f"{_short(name)} {statistics.status}: {', '.join(_counts(statistics.total_by_state)) or 'no verdict yet'}; "
            f"{_rate(statistics.total_by_state)} passed, median runtime {console.duration(statistics.runtime_avg)}"
            + (f"; broke first: {_what(broken)}" if (broken := self._broke_first.get(name)) else "")
            for name, statistics in self._statistics.items()
        ] + self._silent

    def all_passed(self) -> bool:
        """Whether tests ran, all of them passed, and no suite is failing."""
        totals = self._totals()
        suites_ok = all(statistics.status.is_ok() for statistics in self._statistics.values())
        return bool(totals[State.PASS]) and not _failed(totals) and not self._broke_first and suites_ok

    def summary(self) -> str:
        """How it went: a sentence for each case that broke, and the count."""
        totals = self._totals()
        judged = totals[State.PASS] + _failed(totals)
        if not judged:
            counted = "No test got a verdict."
        elif _failed(totals):
            counted = f"{_failed(totals)} of {judged} tests failed."
        else:
            counted = f"{judged} of {judged} tests passed."
        return "\n".join([*(f"{line}." for line in self._broken()), counted])

    def _broken(self) -> list[str]:
        return [f"{_short(name)} broke: {_what(report)}" for name, report in self._broke_first.items()]

    def _totals(self) -> Counter[State]:
        return sum((statistics.total_by_state for statistics in self._statistics.values()), Counter[State]())


def _what(report: TestReport) -> str:
    """What a report of a failure is about, in one line."""
    if report.test is None:
        what = f"the suite: {report.error}"
    elif report.state is State.FAIL:
        what = f"the contract on {_place(report)}: {report.error}"
    else:
        what = str(report.error)
    return sanitize(what)


def _place(report: TestReport) -> str:
    """The signal that did not come, or the last that did before a contract broke."""
    if report.test is None:
        return "the suite"
    if report.state is State.TIMEOUT and (named := _SIGNAL.match(report.error or "")):
        return named[1]
    return sanitize(next(reversed(report.signal_latency), "run()"))


def _short(case_name: str) -> str:
    return sanitize(case_name.rpartition(".")[2])


def _counts(totals: Counter[State]) -> list[str]:
    return [f"{state} {totals[state]}" for state in State if totals[state]]


def _failed(totals: Counter[State]) -> int:
    return sum(totals[state] for state in FAILED)


def _rate(totals: Counter[State]) -> str:
    judged = totals[State.PASS] + _failed(totals)
    return f"{totals[State.PASS] / judged:.0%}" if judged else "-"


def _headline(report: TestReport | None) -> Text:
    if report is None:
        return Text("-", style="dim")
    subject = "the suite" if report.test is None else sanitize(report.test.id[:_ID])
    return Text.assemble(console.state(report.state), f"\n{subject}")
