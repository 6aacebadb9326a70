"""``reports``: the latest reports, and new ones as they arrive."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

import click
from pydantic_core import to_jsonable_python
from rich.text import Text

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import distinct, find_livechecks
from livecheck_celery.cli.known_cases import complete_case, full_case_name, known_cases
from livecheck_celery.cli.tables import Column, FittedTable
from livecheck_celery.models import TestReport, times_in_words
from livecheck_celery.store import Store
from livecheck_celery.store.keys import UNKNOWN_CASE

#: Seconds to block on the report streams before new cases are looked up.
BLOCK: Final = 1.0
_STATE_WIDTH: Final = 7
_COLUMNS: Final = (
    Column("TIME", drop=2),
    Column("STATE"),
    Column("TEST", min_width=20),
    Column("RUNTIME", drop=1),
    Column("ERROR", min_width=20),
)


class Tail:
    """The latest reports of one store, then each new report once.

    Covers one case if ``case_name`` is given; otherwise the cases declared in this process, those registered by
    workers, and the reports of unknown cases.
    """

    def __init__(self, store: Store, case_name: str | None, declared: Iterable[str] = ()) -> None:
        self._store = store
        self._case_name = case_name
        self._declared = tuple(declared)
        self._positions: dict[str, str] = {}
        self._shown: list[TestReport] = []

    def last(self, count: int) -> list[TestReport]:
        """Return the last ``count`` reports, newest last; `new` continues after them."""
        # Positions are read before the reports, so that none is missed. One that arrives in between is read twice.
        new = self._store.reports.follow(self._names(), self._positions, block=0)
        last = self._store.reports.latest(self._names(), count=count)
        self._shown = [*(report for report in new if report not in last), *last]
        return self._shown

    def new(self, block: float) -> list[TestReport]:
        """Return the reports since the last call; wait up to ``block`` seconds for one."""
        names = self._names()
        for name in names:
            # All reports are new of a case that did not exist when the tail started.
            self._positions.setdefault(name, "0-0")
        reports = self._store.reports.follow(names, self._positions, block=block)
        shown, self._shown = self._shown, []
        return [report for report in reports if report not in shown]

    def _names(self) -> list[str]:
        if self._case_name:
            return [self._case_name]
        return [*dict.fromkeys([*self._declared, *self._store.registry.cases()]), UNKNOWN_CASE]


@click.command()
@click.option("-n", "count", type=click.IntRange(min=0), default=20, show_default=True, help="Number of reports.")
@click.option(
    "--case",
    "case_name",
    metavar="CASE",
    shell_complete=complete_case,
    help="Only reports of this case: its name, or its last part.",
)
@click.option("--follow", is_flag=True, help="Then print new reports as they arrive, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with all fields.")
@click.pass_context
def reports(ctx: click.Context, *, count: int, case_name: str | None, follow: bool, as_json: bool) -> None:
    r"""Show the latest reports, newest last.

    One line per report: time (UTC), verdict, test (case:id), runtime, error. A report without an id is about the
    suite. A terminal that is too narrow cuts ids and errors. Pipes and --json get everything.

    \b
    Exit codes:
      0  the reports were printed, or --follow was stopped with Ctrl-C
      2  invalid arguments, or Redis did not answer

    \b
    Examples:
      livecheck -A shop reports -n 5
      livecheck -A shop reports --case test_order --json
      livecheck -A shop reports --follow
    """
    try:
        tails = _tails(find_livechecks(ctx), case_name)
        _print(sorted((report for tail in tails for report in tail.last(count)), key=_time)[-count:], as_json=as_json)
        while follow:
            for tail in tails:
                _print(tail.new(BLOCK / len(tails)), as_json=as_json)
    except KeyboardInterrupt:
        if not follow:
            raise


def _tails(livechecks: Sequence[BaseLiveCheck], case_name: str | None) -> list[Tail]:
    if case_name is None:
        declared = [name for each in livechecks for name in each.cases]
        return [Tail(each.runtime.store, None, declared) for each in distinct(livechecks, "redis_url", "prefix")]
    known = known_cases(livechecks)
    name = full_case_name(case_name, list(known), otherwise=f"known cases: {', '.join(known) or 'none'}")
    return [Tail(known[name].store, name)]


def _time(report: TestReport) -> float:
    return report.at or 0.0


def _print(reports: Sequence[TestReport], *, as_json: bool) -> None:
    if as_json:
        for report in reports:
            # ASCII only: some control characters that JSON allows steer a terminal. click flushes each line.
            click.echo(json.dumps(_finite(to_jsonable_python(report)), allow_nan=False))
    elif reports and console.is_terminal():
        console.table(FittedTable(_COLUMNS, [_cells(report) for report in reports], header=False))
    else:
        for report in reports:
            parts = [part for cell in _cells(report) if str(cell) for part in ("  ", cell)]
            console.line(*parts[1:])


def _finite(value: Any) -> Any:
    """Return ``value`` with nan and the infinities as text, since JSON has no form for them."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return {key: _finite(item) for key, item in value.items()} if isinstance(value, dict) else value


def _cells(report: TestReport) -> list[str | Text]:
    return [
        console.clock(_time(report)),
        console.state(report.state, _STATE_WIDTH),
        report.test.ident if report.test else report.case_name,
        console.duration(report.runtime) if report.runtime is not None else "",
        report.error or _arrived_again(report),
    ]


def _arrived_again(report: TestReport) -> str:
    return ", ".join(f"{name} arrived {times_in_words(times)}" for name, times in report.signal_arrivals.items())
