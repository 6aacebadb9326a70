"""Measure livecheck status and livecheck cases, for 10,000 cases that each have had a test.

The time is that of the whole command, from the start of the interpreter to its exit, with the output to a pipe. The
commands import the module that declares the cases; a worker that has all of them ran before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.places import Server, Tests, inherited, server
from benchmarks.throughput import worker_options
from tests.helpers.programs import REPOSITORY

CASES: Final = 10_000
RUNS: Final = 3
QUICK: Final = (500, 2)
TARGET: Final = Target(2, of_value=True)


def seconds(place: Server, command: str, cases: int) -> float:
    """Return the seconds that a command of LiveCheck takes.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    begun = time.perf_counter()
    subprocess.run(  # noqa: S603 - ourselves
        [str(Path(sys.executable).with_name("livecheck")), "-A", "benchmarks.apps.checks", command],
        cwd=REPOSITORY,
        env={**inherited(), "BENCH_REDIS": place.url, "BENCH_CASES": str(cases)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - begun


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Let a worker run one test of each case, then measure the commands in turns."""
    cases, count = QUICK if options.quick else (options.cases, RUNS)
    times: dict[str, list[float]] = {"status": [], "cases": []}
    with server() as place:
        with steps.doing("a test of each case"), Tests(place, cases) as tests:
            tests.publish(cases)
            with place.worker("checks", worker_options("threads", 8, Tests.queue), BENCH_CASES=str(cases)):
                tests.drain(cases)
        for _ in steps.count(range(count), "runs of both"):
            for command, taken in times.items():
                taken.append(seconds(place, command, cases))
    return [
        Row.alone(command, f"`livecheck {command}`, {cases:,} cases", taken, unit="s", target=TARGET)
        for command, taken in times.items()
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--cases", type=int, default=CASES, metavar="N", help="number of cases")


if __name__ == "__main__":
    run("commands", __doc__, measure, add_options)
