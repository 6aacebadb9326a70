"""``status``: how every case does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.support import distinct, find_livechecks, known_cases, silent_parts
from livecheck_celery.models import State
from livecheck_celery.store.statistics import Statistics, stalled_after

NO_CASES = "No case is declared, and no worker has registered one."
HEADERS = ("CASE", "STATUS", "RUNS", "TESTS", "FAILURES", "RUNTIME", "LATENCY", "FREQUENCY", "LAST TEST", "LAST FAIL")


@click.command()
@click.option("--json", "as_json", is_flag=True, help='Print {"cases": [...], ...}, all that is known.')
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    r"""Show how every case does.

    \b
    RUNS       the share of requests that is tested, and how often a fake one is made
    TESTS      verdicts so far
    FAILURES   in a row / in all
    RUNTIME    median of the last tests that passed
    LATENCY    median of how much later than its frequency a test came
    FREQUENCY  median of the time between two tests
    LAST FAIL  when the suite, not one test, last failed

    A suite without a test for its warn_stalled_after is STALL, even with beat and all workers dead; a line says when
    beat, or every worker, is silent.

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
        console.table(HEADERS, rows)
        for sentence in dict.fromkeys(sentence for each in signs for sentence in silent_parts(each)):
            console.line(Text(sentence, style="bold red"))
    else:
        console.line(NO_CASES)


def as_record(name: str, settings: Mapping[str, Any], statistics: Statistics) -> dict[str, Any]:
    """Everything about a case, under the names of the attributes of ``Case``."""
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
        "consecutive_failures": statistics.consecutive_failures,
        "total_failures": statistics.total_failures,
        "total_by_state": {str(each): count for each, count in statistics.total_by_state.items()},
        "frequency_history": statistics.frequency_history,
        "latency_history": statistics.latency_history,
        "runtime_history": statistics.runtime_history,
        **settings,
    }


def as_row(name: str, settings: Mapping[str, Any], statistics: Statistics) -> list[str | Text]:
    """A case as a line of the table."""
    return [
        name,
        console.state(statistics.status),
        _runs(settings),
        _tests(statistics),
        f"{statistics.consecutive_failures}/{statistics.total_failures}",
        console.duration(statistics.runtime_avg),
        console.duration(statistics.latency_avg),
        console.duration(statistics.frequency_avg),
        console.age(statistics.seconds_since_last_test),
        console.age(statistics.seconds_since_last_fail),
    ]


def _runs(settings: Mapping[str, Any]) -> str:
    if not settings.get("active", True):
        return "inactive"
    share = f"{settings.get('probability', 1) * 100:.3g}%"
    frequency = settings.get("frequency")
    if frequency is None:
        return share
    # A Celery schedule is there as text.
    return f"{share}, {frequency if isinstance(frequency, str) else f'every {console.duration(frequency)}'}"


def _tests(statistics: Statistics) -> str:
    counts = [f"{each} {statistics.total_by_state[each]}" for each in State if statistics.total_by_state[each]]
    return ", ".join(counts) or "none"
