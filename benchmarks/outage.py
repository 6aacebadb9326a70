"""What a user's request pays in an outage, with stock Celery and with LiveCheck, side by side: ``make bench-outage``.

Each row is taken on servers of its own. Stock Celery calls ``noop.delay()``; LiveCheck has requests under test, each of
which calls ``maybe_trigger()`` and ``send()``, 500 times a second and then as fast as it goes. What counts is the one
of the two that costs more. Both have used their connections before the outage.

What is promised, beside the median of ``noop.delay()`` on a healthy Redis: at 500 a second, 99 in 100 calls cost at
most a quarter of it; in a tight loop, the median costs at most a thirtieth. Both take turns, eleven rounds each, and
the median of the rounds counts, so that a burst of some other program does not decide.
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

#: At most this part of ``noop.delay()``.
PACED_SHARE: Final = 1 / 4
TIGHT_SHARE: Final = 1 / 30
#: Seconds after which stock Celery is not waited for any longer.
CUT_OFF: Final = 10.0
ROUNDS: Final = 11

_PATIENCE: Final = 60.0
_PIPED_WIDTH: Final = 120
_VICTIM: Final = Path(__file__).with_name("victim.py")


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
#: Those, and the outages that last.
TABLE: Final[dict[str, Row]] = {
    **HEALTHY,
    **{name: row for name, row in ROWS.items() if not name.endswith("resetting")},
}


@dataclass(frozen=True)
class Taken:
    """One row, in seconds.

    Attributes:
        name: of the row.
        stock: ``noop.delay()`` in the outage; None when it was not waited for any longer.
        raised: what that raised, if anything.
        paced: median of a call of LiveCheck's, as often as requests come.
        p99: 99th percentile of the same.
        longest: the longest of the same.
        tight: median of a call of LiveCheck's in a tight loop.
        reference_paced: median of ``noop.delay()`` on a healthy Redis, as often as requests come.
        reference_tight: the same in a tight loop.
    """

    name: str
    stock: float | None
    raised: str | None
    paced: float
    p99: float
    longest: float
    tight: float
    reference_paced: float
    reference_tight: float

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.p99 <= self.reference_paced * PACED_SHARE and self.tight <= self.reference_tight * TIGHT_SHARE


class Victim:
    """One process of ``victim.py`` that has used its connections; a context manager."""

    def __init__(self, kind: str, place: Place) -> None:
        arguments = [kind, place.redis_url, place.broker_url, place.result_backend or ""]
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, str(_VICTIM), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer(_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, whatever it waits for."""
        self._process.kill()
        self._process.communicate()

    def measure(self, what: str, timeout: float = _PATIENCE) -> dict[str, Any] | None:
        """What it measured; None when it took longer than ``timeout`` seconds, and is not to be asked again."""
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
            raise click.ClickException(f"a process ended before it had answered: {self._process.args!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def take(name: str, rabbit: Callable[[], RabbitMQ], reference: Victim) -> Taken:
    """Measure one row."""
    with TABLE[name](rabbit) as place, Victim("livecheck", place) as ours, Victim("celery", place) as theirs:
        healthy = theirs.measure("paced") if name in HEALTHY else None
        place.fail()
        paced = [(ours.measure("paced"), reference.measure("paced")) for _ in range(ROUNDS)]
        tight = [(ours.measure("tight"), reference.measure("tight")) for _ in range(ROUNDS)]
        stock = theirs.measure("once", CUT_OFF) or {"took": None, "raised": None}
        place.mend()
    if not all(mine and its for mine, its in (*paced, *tight)):
        raise click.ClickException(f"{name}: a round took more than {_PATIENCE:g} s")
    return Taken(
        name,
        stock=healthy["median"] if healthy else stock["took"],
        raised=stock["raised"],
        paced=median(mine["median"] for mine, _ in paced if mine),
        p99=median(mine["p99"] for mine, _ in paced if mine),
        longest=max(mine["max"] for mine, _ in paced if mine),
        tight=median(mine["median"] for mine, _ in tight if mine),
        reference_paced=median(its["median"] for _, its in paced if its),
        reference_tight=median(its["median"] for _, its in tight if its),
    )


def take_all(names: list[str], program: str | None) -> list[Taken]:
    """Measure rows, showing how far it has come."""
    servers: list[RabbitMQ] = []
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack, Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def rabbit() -> RabbitMQ:
            if not servers:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="livecheck-")))
                servers.append(stack.enter_context(rabbitmq(program or "", directory)))
            return servers[0]

        reference = stack.enter_context(Victim("celery", stack.enter_context(_healthy_redis(rabbit))))
        task = progress.add_task("", total=len(names))
        taken = []
        for name in names:
            progress.update(task, description=name)
            taken.append(take(name, rabbit, reference))
            progress.advance(task)
        return taken


# -- showing it


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _share(value: float, reference: float) -> str:
    return f"{_time(value)} (1/{reference / value:.1f})"


COLUMNS: Final = ("row", "noop.delay()", "median", "p99", "max", "tight loop", "holds")


def cells(row: Taken) -> tuple[str, ...]:
    """One row of the table; in brackets, what part that is of ``noop.delay()`` on a healthy Redis."""
    stock = f"> {CUT_OFF:g} s" if row.stock is None else _time(row.stock)
    return (
        row.name,
        f"{stock}, {row.raised}" if row.raised else stock,
        _time(row.paced),
        _share(row.p99, row.reference_paced),
        _time(row.longest),
        _share(row.tight, row.reference_tight),
        "yes" if row.holds else "NO",
    )


def as_markdown(rows: list[Taken]) -> str:
    """The table for the documentation."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_table(rows: list[Taken]) -> Table:
    """The table for people."""
    table = Table(*COLUMNS, caption="From the third column on: maybe_trigger() or send(), whichever costs more.")
    for row in rows:
        table.add_row(*cells(row), style=None if row.holds else "red")
    return table


def chosen(words: tuple[str, ...]) -> list[str]:
    """Names of the rows that have one of the words in theirs.

    Raises:
        click.BadParameter: none has.
    """
    names = [name for name in TABLE if not words or any(word.lower() in name.lower() for word in words)]
    if not names:
        raise click.BadParameter(f"no row has that in its name; there are: {', '.join(TABLE)}", param_hint="--rows")
    return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", multiple=True, metavar="WORD", help="Only rows with this in their names; may be repeated.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown, for the documentation.")
@click.option("--list", "only_list", is_flag=True, help="List the rows, and do nothing.")
def main(rows: tuple[str, ...], markdown: bool, only_list: bool) -> None:
    """Measure what a user's request pays in each outage, with stock Celery and with LiveCheck.

    Exits with 1 when a promise was not kept: at 500 requests a second the 99th percentile of maybe_trigger() and of
    send() is at most a quarter of the median of noop.delay() on a healthy Redis, and their median in a tight loop at
    most a thirtieth.
    """
    names = chosen(rows)
    if only_list:
        click.echo("\n".join(names))
        return
    program = rabbitmq_program()
    if program is None and (without := [name for name in names if "RabbitMQ" in name]):
        click.echo(f"no rabbitmq-server is installed; left out: {', '.join(without)}", err=True)
        names = [name for name in names if name not in without]
    taken = take_all(names, program)
    if markdown:
        click.echo(as_markdown(taken))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = _PIPED_WIDTH
        console.print(as_table(taken))
    _conclude(taken)


def _conclude(taken: list[Taken]) -> None:
    paced, tight = (
        median(times) for times in zip(*((r.reference_paced, r.reference_tight) for r in taken), strict=True)
    )
    click.echo(
        f"noop.delay() on a healthy Redis: {_time(paced)} at 500 a second, {_time(tight)} in a tight loop. "
        f"Promised: p99 at most 1/{1 / PACED_SHARE:g} of that, tight loop at most 1/{1 / TIGHT_SHARE:g} of that.",
        err=True,
    )
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > processors:
        click.echo(f"The load is {load:.1f} on {processors} processors: other programs are in these figures.", err=True)
    if broken := [row.name for row in taken if not row.holds]:
        raise click.ClickException(f"the promise was not kept: {', '.join(broken)}")


if __name__ == "__main__":
    main()
