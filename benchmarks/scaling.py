"""Measure how the executions a second depend on the number of cases, and of workers.

The workers are as in `throughput`. They are ready before the backlog is released, all at once. In each round, every
number of cases, and of workers, has one run. The workers, the broker and this process share the cores of the machine:
more workers than cores cannot be faster.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from typing import Final, NamedTuple

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.places import Tests, held, server, wait_answering
from benchmarks.throughput import worker_options

ROUNDS: Final = 3
BACKLOG: Final = 1_500
QUICK: Final = (1, 300)
#: Within 20 %.
SHARE: Final = 0.8


class Size(NamedTuple):
    """One kind of run."""

    cases: int
    workers: int


SMALLEST: Final = Size(1, 1)
BY_CASES: Final = (Size(100, 1), Size(10_000, 1))
BY_WORKERS: Final = (Size(1, 2), Size(1, 4))


def rate(size: Size, backlog: int) -> float:
    """Return the executions per second of new workers."""
    with server() as place, Tests(place, size.cases) as tests, ExitStack() as stack:
        tests.publish(backlog)
        with held(place, Tests.queue):
            for number in range(size.workers):
                options = worker_options("threads", 8, f"{Tests.queue} -n worker{number}@%h")
                stack.enter_context(place.worker("checks", options, BENCH_CASES=str(size.cases)))
            wait_answering(place, size.workers)
        return tests.drain(backlog).rate


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure each size once in each round."""
    count, backlog = QUICK if options.quick else (options.rounds, options.backlog)
    sizes = (SMALLEST, *BY_CASES, *BY_WORKERS)
    rounds: list[dict[Size, float]] = [{} for _ in range(count)]
    for index in steps.count(range(count * len(sizes)), "runs"):
        size = sizes[index % len(sizes)]
        rounds[index // len(sizes)][size] = rate(size, backlog)

    def row(size: Size, what: str, limit: float) -> Row:
        pairs = [(one[size], one[SMALLEST]) for one in rounds]
        target = Target(limit, at_least=True)
        return Row.of_pairs(what, f"executions, {what}", pairs, beside="1 case, 1 worker", unit="/s", target=target)

    cores = os.cpu_count() or 1
    return [
        *(row(size, f"{size.cases:,} cases, 1 worker", SHARE) for size in BY_CASES),
        *(row(size, f"1 case, {size.workers} workers", SHARE * min(size.workers, cores)) for size in BY_WORKERS),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="runs of each size")
    parser.add_argument("--backlog", type=int, default=BACKLOG, metavar="N", help="tests of one run")


if __name__ == "__main__":
    run("scaling", __doc__, measure, add_options)
