"""Measure what 10,000 cases cost while no test runs: commands of Redis, and processor time, beside 10 cases.

Two servers, each with a worker and a beat, run at the same time, one with 10,000 cases, the other with 10. No test is
triggered. The commands that Redis processes, those of scripts included, and the processor time of the programs are
counted over 40 s, in four parts.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from itertools import pairwise
from typing import Final, NamedTuple

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.places import Server, commands, cpu_seconds, server, wait_answering
from tests.helpers.programs import Program

CASES: Final = 10_000
FEW: Final = 10
QUICK: Final = 500
SETTLE: Final = 15.0
PARTS: Final = 4
PART: Final = 10.0
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


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure both installations at the same time."""
    cases = QUICK if options.quick else options.cases
    with ExitStack() as stack:
        many, few = (install(stack, count) for count in (cases, FEW))
        with steps.doing("the workers start"):
            for one in (many, few):
                wait_answering(one.place, 1)
        steps.wait(2.0 if options.quick else SETTLE, "all settle")
        counted = [(many.counted(), few.counted())]
        for _ in range(1 if options.quick else PARTS):
            steps.wait(PART, "idle")
            counted.append((many.counted(), few.counted()))

    def pairs(index: int, factor: float) -> list[tuple[float, float]]:
        return [
            ((after[0][index] - before[0][index]) / PART * factor, (after[1][index] - before[1][index]) / PART * factor)
            for before, after in pairwise(counted)
        ]

    beside = f"{FEW} cases"
    idle = f"{cases:,} cases, no test"
    return [
        Row.of_pairs(
            "commands",
            f"Redis commands, {idle}",
            pairs(0, 1),
            beside=beside,
            unit="/s",
            target=Target(50, of_value=True),
        ),
        Row.of_pairs(
            "worker",
            f"processor time of the worker, {idle}",
            _nonzero(pairs(1, 100)),
            beside=beside,
            unit="% of a core",
            target=Target(2, of_value=True),
        ),
        Row.of_pairs(
            "beat", f"processor time of beat, {idle}", _nonzero(pairs(2, 100)), beside=beside, unit="% of a core"
        ),
    ]


def _nonzero(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the pairs with values of at least the resolution of the clock, a hundredth of a second in each part."""
    least = 1 / PART
    return [(max(ours, least), max(peer, least)) for ours, peer in pairs]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--cases", type=int, default=CASES, metavar="N", help="number of the many cases")


if __name__ == "__main__":
    run("idle", __doc__, measure, add_options)
