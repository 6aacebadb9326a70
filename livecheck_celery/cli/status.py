"""``status``: the state of each suite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import distinct, find_livechecks
from livecheck_celery.cli.known_cases import KnownCase, known_cases, override_lines, undeclared_line
from livecheck_celery.cli.liveness import silence_warnings
from livecheck_celery.cli.tables import Column, FittedTable
from livecheck_celery.store.statistics import Statistics, stalled_after
from livecheck_celery.utils.sanitize import sanitize

NO_CASES: Final = "No cases: none is declared here, and no worker has registered one."
COLUMNS: Final = (
    Column("CASE", min_width=22, cut_start=True),
    Column("STATUS"),
    Column("TRIGGERS", drop=3),
    Column("TESTS", min_width=30),
    Column("FAILED", drop=7),
    Column("IN A ROW", drop=4),
    Column("RUNTIME", drop=6),
    Column("LATENCY", drop=1),
    Column("FREQUENCY", drop=2),
    Column("LAST TEST", drop=8),
    Column("LAST FAILED TEST", drop=5),
)
#: In place of a state that is OK while too many tests fail, and of any state of a case that no running worker declares.
DEGRADED, UNDECLARED = "DEGRADED", "UNDECLARED"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all fields of all cases.")
@click.option("--check", is_flag=True, help="Exit with 1 if a suite fails.")
@click.pass_context
def status(ctx: click.Context, *, as_json: bool, check: bool) -> None:
    r"""Show the status of each case.

    \b
    CASE       name of the case
    STATUS     state of the suite: that of the last test;
               STALL if no test ran for warn_stalled_after;
               DEGRADED if the last test passed, but too many recent ones failed;
               UNDECLARED if no running worker declares the case
    TRIGGERS   share of real requests that are tested, interval of fake requests
    TESTS      verdicts so far, by state
    FAILED     share of failed tests among the recent ones, and how many those are
    IN A ROW   failed tests since the last pass
    RUNTIME    median runtime of tests that passed
    LATENCY    median delay of tests, compared with the frequency of the case
    FREQUENCY  median time between two tests
    LAST TEST  time since a test was received
    LAST FAILED TEST  time since a test failed

    Lines below the table say what needs attention: suites that fail and since when, overrides, cases that no running
    worker declares, and a silent beat. A terminal that is too narrow shows fewer columns and cuts long names. Pipes and
    --json get everything. A stall is shown even while beat and all workers are down.

    \b
    Exit codes:
      0  the status was printed; with --check: no suite fails
      1  with --check: a suite is FAIL, ERROR, TIMEOUT, STALL or DEGRADED
      2  invalid arguments, or Redis did not answer

    \b
    Examples:
      livecheck -A shop status
      livecheck -A shop status --json
      celery -A shop livecheck status
    """
    livechecks = find_livechecks(ctx)
    known = known_cases(livechecks)
    read = read_statistics(known)
    signs = [each.runtime.store.liveness.read() for each in distinct(livechecks, "redis_url", "prefix")]
    if as_json:
        records = [as_record(name, case, read[name]) for name, case in known.items()]
        click.echo(json.dumps({"cases": records, "signs_of_life": [each._asdict() for each in signs]}, indent=2))
    elif known:
        console.table(FittedTable(COLUMNS, [as_row(name, case, read[name]) for name, case in known.items()]))
        for warning in dict.fromkeys(warning for each in signs for warning in silence_warnings(each)):
            console.sentence(Text(warning, style="bold red"))
        for name, case in known.items():
            for remark in remarks(name, case, read[name]):
                console.sentence(Text(sanitize(remark)))
    else:
        console.line(NO_CASES)
    if check and any(is_failing(case, read[name]) for name, case in known.items()):
        ctx.exit(1)


def read_statistics(known: Mapping[str, KnownCase]) -> dict[str, Statistics]:
    """Read the statistics of each case; a case whose tests no running worker can run does not stall.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    found: dict[str, Statistics] = {}
    for store in dict.fromkeys(case.store for case in known.values()):
        cases = {name: case for name, case in known.items() if case.store is store}
        limits = {name: stalled_after(case.settings) if case.expects_tests else None for name, case in cases.items()}
        found |= store.suites.statistics_each(limits)
    return found


def is_failing(case: KnownCase, statistics: Statistics) -> bool:
    """Return whether the case needs attention: its suite fails, and a running worker declares it, or none runs."""
    return case.expects_tests and (not statistics.status.is_ok() or statistics.failing_since is not None)


def remarks(name: str, case: KnownCase, statistics: Statistics) -> list[str]:
    """Return a sentence for each thing about a case that the table does not show."""
    found = []
    if statistics.failing_since is not None and case.expects_tests:
        failures, tests = statistics.recent
        began = console.age(statistics.seconds_failing)
        found.append(f"{name}: the suite began to fail {began}: {failures} of the last {tests} tests failed")
    return [*found, *override_lines(name, case), *filter(None, [undeclared_line(name, case)])]


def as_record(name: str, case: KnownCase, statistics: Statistics) -> dict[str, Any]:
    """Return all fields of a case, named as the attributes of ``Case``."""
    return {
        **case.settings,  # first, since Redis can hold entries with any name
        "name": name,
        "status": statistics.status,
        "last_test_received": statistics.last_test_received,
        "seconds_since_last_test": statistics.seconds_since_last_test,
        "last_fail": statistics.last_fail,
        "seconds_since_last_fail": statistics.seconds_since_last_fail,
        "runtime_avg": statistics.runtime_avg,
        "latency_avg": statistics.latency_avg,
        "frequency_avg": statistics.frequency_avg,
        "failing_since": statistics.failing_since,
        "failure_rate": statistics.recent.rate,
        "recent_tests": statistics.recent.tests,
        "last_failed_test": statistics.last_failed_test,
        "consecutive_failures": statistics.consecutive_failures,
        "total_failures": statistics.total_failures,
        "total_by_state": {str(each): count for each, count in statistics.total_by_state.items()},
        "frequency_history": statistics.frequency_history,
        "latency_history": statistics.latency_history,
        "runtime_history": statistics.runtime_history,
        "declared": case.declared,
        "overrides": {option: note._asdict() for option, note in case.notes.items()},
    }


def as_row(name: str, case: KnownCase, statistics: Statistics) -> list[str | Text]:
    """Return the row of a case, in the order of `COLUMNS`."""
    return [
        name,
        _status(case, statistics),
        _triggers(case.settings),
        console.counts(statistics.total_by_state) or "none",
        "-" if statistics.recent.rate is None else f"{statistics.recent.rate:.0%} of {statistics.recent.tests}",
        str(statistics.consecutive_failures),
        console.duration(statistics.runtime_avg),
        # Histories of an earlier version have negative delays.
        console.duration(statistics.latency_avg and max(0.0, statistics.latency_avg)),
        console.duration(statistics.frequency_avg),
        console.age(statistics.seconds_since_last_test),
        _last_failed_test(statistics),
    ]


def _status(case: KnownCase, statistics: Statistics) -> Text:
    if case.declared is False:
        return Text(UNDECLARED, style="dim")
    if statistics.failing_since is not None and statistics.status.is_ok():
        return Text(DEGRADED, style="bold yellow")
    return console.state(statistics.status)


def _last_failed_test(statistics: Statistics) -> str:
    if statistics.last_failed_test is None and statistics.total_failures:
        return "unknown"  # an earlier version recorded it
    return console.age(statistics.seconds_since_last_failed_test)


def _triggers(settings: Mapping[str, Any]) -> str:
    return _schedule(settings) + (" (overridden)" if settings.get("overridden") else "")


def _schedule(settings: Mapping[str, Any]) -> str:
    if not settings.get("active", True):
        return "inactive"
    share = f"{settings.get('probability', 1) * 100:.3g}%"
    frequency = settings.get("frequency")
    if frequency is None:
        return share
    # Redis holds a Celery schedule as text.
    return f"{share}, {frequency if isinstance(frequency, str) else f'every {console.duration(frequency)}'}"
