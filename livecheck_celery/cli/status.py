"""``status``: the state of each suite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import distinct, find_livechecks
from livecheck_celery.cli.known_cases import known_cases
from livecheck_celery.cli.liveness import silence_warnings
from livecheck_celery.cli.tables import Column, FittedTable
from livecheck_celery.store.statistics import Statistics, stalled_after

NO_CASES: Final = "No cases: none is declared here, and no worker has registered one."
COLUMNS: Final = (
    Column("CASE", min_width=22, cut_start=True),
    Column("STATUS"),
    Column("TRIGGERS", drop=3),
    Column("TESTS", min_width=30),
    Column("FAILURES", drop=5),
    Column("RUNTIME", drop=6),
    Column("LATENCY", drop=1),
    Column("FREQUENCY", drop=2),
    Column("LAST TEST", drop=7),
    Column("LAST FAIL", drop=4),
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all fields of all cases.")
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    r"""Show the status of each case.

    \b
    CASE       name of the case
    STATUS     state of the suite; STALL if no test ran for warn_stalled_after
    TRIGGERS   share of real requests that are tested, interval of fake requests
    TESTS      verdicts so far, by state
    FAILURES   consecutive failures/all failures
    RUNTIME    median runtime of tests that passed
    LATENCY    median delay of tests, compared with the frequency of the case
    FREQUENCY  median time between two tests
    LAST TEST  time since a test was received
    LAST FAIL  time since the suite failed; a single failed test does not count

    A terminal that is too narrow shows fewer columns and cuts long names. Pipes and --json get everything. A stall is
    shown even while beat and all workers are down; a line below the table says if they are.

    \b
    Exit codes:
      0  the status was printed, even if a suite fails
      2  invalid arguments, or Redis did not answer

    \b
    Examples:
      livecheck -A shop status
      livecheck -A shop status --json
      celery -A shop livecheck status
    """
    livechecks = find_livechecks(ctx)
    rows, records = [], []
    for name, case in known_cases(livechecks).items():
        statistics = case.store.suites.statistics(name, stalled_after=stalled_after(case.settings))
        records.append(as_record(name, case.settings, statistics))
        rows.append(as_row(name, case.settings, statistics))
    signs = [each.runtime.store.liveness.read() for each in distinct(livechecks, "redis_url", "prefix")]
    if as_json:
        click.echo(json.dumps({"cases": records, "signs_of_life": [each._asdict() for each in signs]}, indent=2))
    elif rows:
        console.table(FittedTable(COLUMNS, rows))
        for warning in dict.fromkeys(warning for each in signs for warning in silence_warnings(each)):
            console.sentence(Text(warning, style="bold red"))
    else:
        console.line(NO_CASES)


def as_record(name: str, settings: Mapping[str, Any], statistics: Statistics) -> dict[str, Any]:
    """Return all fields of a case, named as the attributes of ``Case``."""
    return {
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
        **settings,
    }


def as_row(name: str, settings: Mapping[str, Any], statistics: Statistics) -> list[str | Text]:
    """Return the row of a case, in the order of `COLUMNS`."""
    return [
        name,
        console.state(statistics.status),
        _triggers(settings),
        console.counts(statistics.total_by_state) or "none",
        f"{statistics.consecutive_failures}/{statistics.total_failures}",
        console.duration(statistics.runtime_avg),
        console.duration(statistics.latency_avg),
        console.duration(statistics.frequency_avg),
        console.age(statistics.seconds_since_last_test),
        console.age(statistics.seconds_since_last_fail),
    ]


def _triggers(settings: Mapping[str, Any]) -> str:
    if not settings.get("active", True):
        return "inactive"
    share = f"{settings.get('probability', 1) * 100:.3g}%"
    frequency = settings.get("frequency")
    if frequency is None:
        return share
    # Redis holds a Celery schedule as text.
    return f"{share}, {frequency if isinstance(frequency, str) else f'every {console.duration(frequency)}'}"
