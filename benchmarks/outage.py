"""Compare the time a request takes in an outage with LiveCheck and with Celery alone: ``make bench-outage``.

Each row has servers of its own. The Celery client calls ``noop.delay()``. The LiveCheck client makes requests under
test, each with ``maybe_trigger()`` and ``send()``, at 500 per second and then in a tight loop; the slower of the two
calls counts. Both clients have used their connections before the outage.

Limits, relative to the median of ``noop.delay()`` on a healthy Redis: at 500 per second, the 99th percentile is at most
a quarter; in a tight loop, the median is at most a thirtieth. The clients alternate for eleven rounds and the median of
the rounds counts, so that other programs on the machine have little influence.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.helpers.fault_proxy import HOST
from tests.helpers.outages import NOTHING, ROWS, Place, Row
from tests.helpers.rabbitmq import RabbitMQ, rabbitmq, rabbitmq_program
from tests.helpers.valkey import embedded

#: Maximum shares of the time of ``noop.delay()``.
PACED_SHARE: Final = 1 / 4
TIGHT_SHARE: Final = 1 / 30
#: Maximum seconds to wait for ``noop.delay()``.
CUT_OFF: Final = 10.0
ROUNDS: Final = 11

_TIMEOUT: Final = 60.0
_PIPED_WIDTH: Final = 120
_CLIENT: Final = Path(__file__).with_name("outage_client.py")


@contextmanager
def _healthy_redis(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server:
        url = f"redis://{HOST}:{server.port}/0"
        yield Place(url, url, NOTHING, lambda: None, lambda: None)


@contextmanager
def _healthy_rabbitmq(rabbit: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server:
        yield Place(f"redis://{HOST}:{server.port}/0", rabbit().url, NOTHING, lambda: None, lambda: None)


HEALTHY: Final[dict[str, Row]] = {"Redis healthy": _healthy_redis, "RabbitMQ healthy": _healthy_rabbitmq}
#: The healthy rows, and all outages that last.
TABLE: Final[dict[str, Row]] = {
    **HEALTHY,
    **{name: row for name, row in ROWS.items() if not name.endswith("resetting")},
}


@dataclass(frozen=True)
class Measured:
    """The times of one row, in seconds.

    Attributes:
        name: of the row.
        celery: ``noop.delay()`` in the outage; None if it took longer than `CUT_OFF`.
        raised: name of the error that it raised, if any.
        paced: median of LiveCheck's call at 500 per second.
        p99: its 99th percentile.
        longest: its maximum.
        tight: median of LiveCheck's call in a tight loop.
        reference_paced: median of ``noop.delay()`` on a healthy Redis, at 500 per second.
        reference_tight: the same in a tight loop.
    """

    name: str
    celery: float | None
    raised: str | None
    paced: float
    p99: float
    longest: float
    tight: float
    reference_paced: float
    reference_tight: float

    @property
    def holds(self) -> bool:
        """Whether the row keeps the limits."""
        return self.p99 <= self.reference_paced * PACED_SHARE and self.tight <= self.reference_tight * TIGHT_SHARE


class Client:
    """A process of ``outage_client.py`` that has used its connections; a context manager."""

    def __init__(self, kind: str, place: Place) -> None:
        arguments = [kind, place.redis_url, place.broker_url, place.result_backend or ""]
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, str(_CLIENT), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer(_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()

    def measure(self, what: str, timeout: float = _TIMEOUT) -> dict[str, Any] | None:
        """Return the measurement, or None if it took longer than ``timeout`` seconds; then do not call this again."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer(timeout)

    def _answer(self, timeout: float) -> dict[str, Any] | None:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                return None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"a client exited without an answer: {self._process.args!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(name: str, rabbit: Callable[[], RabbitMQ], reference: Client) -> Measured:
    """Measure one row."""
    with TABLE[name](rabbit) as place, Client("livecheck", place) as ours, Client("celery", place) as theirs:
        healthy = theirs.measure("paced") if name in HEALTHY else None
        place.fail()
        paced = [(ours.measure("paced"), reference.measure("paced")) for _ in range(ROUNDS)]
        tight = [(ours.measure("tight"), reference.measure("tight")) for _ in range(ROUNDS)]
        once = theirs.measure("once", CUT_OFF) or {"took": None, "raised": None}
        place.restore()
    if not all(mine and its for mine, its in (*paced, *tight)):
        raise click.ClickException(f"{name}: a round took more than {_TIMEOUT:g} s")
    return Measured(
        name,
        celery=healthy["median"] if healthy else once["took"],
        raised=once["raised"],
        paced=median(mine["median"] for mine, _ in paced if mine),
        p99=median(mine["p99"] for mine, _ in paced if mine),
        longest=max(mine["max"] for mine, _ in paced if mine),
        tight=median(mine["median"] for mine, _ in tight if mine),
        reference_paced=median(its["median"] for _, its in paced if its),
        reference_tight=median(its["median"] for _, its in tight if its),
    )


def measure_all(names: list[str], program: str | None) -> list[Measured]:
    """Measure rows and show the progress."""
    servers: list[RabbitMQ] = []
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack, Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def rabbit() -> RabbitMQ:
            if not servers:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="livecheck-")))
                servers.append(stack.enter_context(rabbitmq(program or "", directory)))
            return servers[0]

        reference = stack.enter_context(Client("celery", stack.enter_context(_healthy_redis(rabbit))))
        task = progress.add_task("", total=len(names))
        measured = []
        for name in names:
            progress.update(task, description=name)
            measured.append(measure(name, rabbit, reference))
            progress.advance(task)
        return measured


# -- output


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _share(value: float, reference: float) -> str:
    return f"{_time(value)} (1/{reference / value:.1f})"


COLUMNS: Final = ("row", "noop.delay()", "median", "p99", "max", "tight loop", "holds")


def cells(row: Measured) -> tuple[str, ...]:
    """Return one row of the table; in brackets, the share of ``noop.delay()`` on a healthy Redis."""
    celery = f"> {CUT_OFF:g} s" if row.celery is None else _time(row.celery)
    return (
        row.name,
        f"{celery}, {row.raised}" if row.raised else celery,
        _time(row.paced),
        _share(row.p99, row.reference_paced),
        _time(row.longest),
        _share(row.tight, row.reference_tight),
        "yes" if row.holds else "NO",
    )


def as_markdown(rows: list[Measured]) -> str:
    """Return the table as Markdown, for the documentation."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_table(rows: list[Measured]) -> Table:
    """Return the table for a terminal."""
    table = Table(*COLUMNS, caption="From the third column on: the slower of maybe_trigger() and send().")
    for row in rows:
        table.add_row(*cells(row), style=None if row.holds else "red")
    return table


def chosen(words: tuple[str, ...]) -> list[str]:
    """Return the names of the rows that contain one of the words; all names without words.

    Raises:
        click.BadParameter: no row contains one.
    """
    names = [name for name in TABLE if not words or any(word.lower() in name.lower() for word in words)]
    if not names:
        raise click.BadParameter(f"unknown row; choose from: {', '.join(TABLE)}", param_hint="--rows")
    return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", multiple=True, metavar="WORD", help="Only rows whose name contains WORD; can be repeated.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown, for the documentation.")
@click.option("--list", "only_list", is_flag=True, help="List the names of the rows, and exit.")
def main(rows: tuple[str, ...], markdown: bool, only_list: bool) -> None:
    """Measure how long a request takes in each outage, with LiveCheck and with Celery alone.

    Exit code: 1 if a row exceeds a limit. At 500 requests per second, the 99th percentile of maybe_trigger() and of
    send() must be at most a quarter of the median of noop.delay() on a healthy Redis; in a tight loop, their median
    must be at most a thirtieth of it.
    """
    names = chosen(rows)
    if only_list:
        click.echo("\n".join(names))
        return
    program = rabbitmq_program()
    if program is None and (without := [name for name in names if "RabbitMQ" in name]):
        click.echo(f"rabbitmq-server is not installed; skipped: {', '.join(without)}", err=True)
        names = [name for name in names if name not in without]
    measured = measure_all(names, program)
    if markdown:
        click.echo(as_markdown(measured))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = _PIPED_WIDTH
        console.print(as_table(measured))
    _print_summary(measured)


def _print_summary(rows: list[Measured]) -> None:
    paced, tight = (
        median(times) for times in zip(*((r.reference_paced, r.reference_tight) for r in rows), strict=True)
    )
    click.echo(
        f"noop.delay() on a healthy Redis: {_time(paced)} at 500 per second, {_time(tight)} in a tight loop. "
        f"Limits: p99 at most 1/{1 / PACED_SHARE:g} of that, tight loop at most 1/{1 / TIGHT_SHARE:g} of that.",
        err=True,
    )
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > processors:
        click.echo(f"The load is {load:.1f} on {processors} processors: other programs influence the times.", err=True)
    if exceeded := [row.name for row in rows if not row.holds]:
        raise click.ClickException(f"limits exceeded: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
