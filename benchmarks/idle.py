"""Measure what 10,000 cases cost while no test runs: commands of Redis, and processor time, beside 10 cases.

Two servers, each with a worker and a beat, run at the same time, one with 10,000 cases, the other with 10. No test is
triggered. The commands that Redis processes, those of scripts included, and the processor time of the programs are
counted over a minute, the longest period of what worker and beat do by themselves.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.places import READY, Server, commands, cpu_seconds, server, wait_answering
from tests.helpers.programs import Program
from tests.helpers.waiting import wait_until

CASES: Final = 10_000
FEW: Final = 10
QUICK: Final = 500
SETTLE: Final = 10.0
WINDOW: Final = 60.0
#: Commands in a second, over which the worker still registers its cases.
CALM: Final = 200
#: The resolution of processor time, as a share.
LEAST: Final = 0.01
OPTIONS: Final = "-P threads -c 8 -Q livecheck,livecheck.schedule --loglevel WARNING"


class Installation(NamedTuple):
    """A server with its programs."""

    place: Server
    worker: Program
    beat: Program

    def counted(self) -> tuple[float, float, float]:
        """Return the commands, and the processor time of the worker and of beat, so far."""
        return commands(self.place.client), cpu_seconds(self.worker), cpu_seconds(self.beat)


def install(stack: ExitStack, cases: int) -> Installation:
    """Start a server, a worker and a beat with ``cases`` cases."""
    place, environment = stack.enter_context(server()), {"BENCH_CASES": str(cases)}
    worker = stack.enter_context(place.worker("checks", OPTIONS, **environment))
    beat = f"{sys.executable} -m celery -A benchmarks.apps.checks beat --loglevel WARNING"
    return Installation(place, worker, stack.enter_context(place.program(beat, **environment)))


def wait_calm(place: Server) -> None:
    """Wait until the worker has registered its cases."""

    def is_calm() -> bool:
        before = commands(place.client)
        time.sleep(1.0)
        return commands(place.client) - before < CALM

    wait_until(is_calm, READY, "an idle worker")


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure both installations at the same time."""
    cases, window = (QUICK, 5.0) if options.quick else (options.cases, WINDOW)
    with ExitStack() as stack:
        both = [install(stack, count) for count in (cases, FEW)]
        with steps.doing("the workers start"):
            for one in both:
                wait_answering(one.place, 1)
                wait_calm(one.place)
        steps.wait(SETTLE, "all settle")
        before = [one.counted() for one in both]
        steps.wait(window, "idle")
        after = [one.counted() for one in both]

    def row(index: int, name: str, what: str, *, unit: str = "/s", scale: float = 1, target: Target | None) -> Row:
        used = [(end[index] - start[index]) / window * scale for start, end in zip(before, after, strict=True)]
        many, few = (max(LEAST, value) for value in used)
        what = f"{what}, {cases:,} cases, no test"
        return Row.of_pairs(name, what, [(many, few)], beside=f"{FEW} cases", unit=unit, target=target)

    share: Any = {"unit": "% of a core", "scale": 100}
    return [
        row(0, "commands", "Redis commands", target=Target(50, of_value=True)),
        row(1, "worker", "processor time of the worker", **share, target=Target(2, of_value=True)),
        row(2, "beat", "processor time of beat", **share, target=None),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--cases", type=int, default=CASES, metavar="N", help="number of the many cases")


if __name__ == "__main__":
    run("idle", __doc__, measure, add_options)
