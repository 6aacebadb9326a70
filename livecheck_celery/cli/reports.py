"""``reports``: the verdicts, as they are reached."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from livecheck_celery.cli import console
from livecheck_celery.cli.support import case_called, distinct, find_livechecks, known_cases
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.models import REPORT, TestReport
from livecheck_celery.store import Store
from livecheck_celery.store.keys import UNKNOWN_CASE

#: Seconds one look at the streams may take; new cases are noticed between two looks.
LOOK = 1.0
_STATE_WIDTH = 7


class Tail:
    """The last reports of one store, then those that come, none twice and none left out.

    Of one case, or of all: those ``declared`` here, those registered by workers, and those nobody declared.
    """

    def __init__(self, store: Store, case_name: str | None, declared: Iterable[str] = ()) -> None:
        self._store = store
        self._case_name = case_name
        self._declared = tuple(declared)
        self._positions: dict[str, str] = {}
        self._shown: list[TestReport] = []

    def last(self, count: int) -> list[TestReport]:
        """The last ``count`` reports, newest last; `new` goes on from there."""
        # The place to go on from is noted first, so what comes in between is read twice, and shown once.
        new = self._store.reports.follow(self._names(), self._positions, block=0)
        last = self._store.reports.latest(self._names(), count=count)
        self._shown = [*(report for report in new if report not in last), *last]
        return self._shown

    def new(self, block: float) -> list[TestReport]:
        """Those since the last call, waiting up to ``block`` seconds for one."""
        names = self._names()
        for name in names:
            # A case that was not there when the tail began is new with all its reports.
            self._positions.setdefault(name, "0-0")
        reports = self._store.reports.follow(names, self._positions, block=block)
        shown, self._shown = self._shown, []
        return [report for report in reports if report not in shown]

    def _names(self) -> list[str]:
        if self._case_name:
            return [self._case_name]
        return [*dict.fromkeys([*self._declared, *self._store.registry.cases()]), UNKNOWN_CASE]


@click.command()
@click.option("-n", "count", type=click.IntRange(min=0), default=20, show_default=True, help="How many, at most.")
@click.option("--case", "wanted", metavar="CASE", help="Only those of one case.")
@click.option("--follow", is_flag=True, help="Go on with new ones, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.pass_context
def reports(ctx: click.Context, *, count: int, wanted: str | None, follow: bool, as_json: bool) -> None:
    r"""Show the last verdicts, newest last.

    When (UTC), verdict, test, how long it ran, what broke. A line that names no test is about the suite.

    \b
    Examples:
      livecheck -A shop reports -n 5
      livecheck -A shop reports --case test_order --json
      livecheck -A shop reports --follow
    """
    try:
        tails = _tails(find_livechecks(ctx), wanted)
        _show(sorted((report for tail in tails for report in tail.last(count)), key=_when)[-count:], as_json=as_json)
        while follow:
            for tail in tails:
                _show(tail.new(LOOK / len(tails)), as_json=as_json)
    except KeyboardInterrupt:
        if not follow:
            raise


def _tails(livechecks: Sequence[LiveCheck], wanted: str | None) -> list[Tail]:
    if wanted is None:
        declared = [name for each in livechecks for name in each.cases]
        return [Tail(each.runtime.store, None, declared) for each in distinct(livechecks, "redis_url", "prefix")]
    known = known_cases(livechecks)
    name = case_called(wanted, list(known), otherwise=f"there are: {', '.join(known) or 'none'}")
    return [Tail(known[name].store, name)]


def _when(report: TestReport) -> float:
    return report.at or 0.0


def _show(reports: Sequence[TestReport], *, as_json: bool) -> None:
    for report in reports:
        if as_json:
            # All in ASCII, as a terminal heeds some control characters that JSON need not escape; and it flushes.
            click.echo(json.dumps(REPORT.dump_python(report, mode="json")))
        else:
            as_line(report)


def as_line(report: TestReport) -> None:
    """Print a report on one line."""
    console.line(
        console.clock(_when(report)),
        "  ",
        console.state(report.state, _STATE_WIDTH),
        f"  {report.test.ident if report.test else report.case_name}",
        f"  {console.duration(report.runtime)}" if report.runtime is not None else "",
        f"  {report.error}" if report.error else "",
    )
