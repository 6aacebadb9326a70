"""Measure how many tests a second one worker executes, beside tasks that do nothing.

The worker is a real process: celery worker -P threads -c 8. A backlog waits in the queue before it starts: tests whose
signal has been sent, or messages of a task that does nothing, for a worker with the same pool, concurrency, log level
and without results. The time is from the first message that is taken to the last that is finished; every test must
have the verdict PASS. A pair is one worker of each.
"""

from __future__ import annotations

import argparse
from typing import Final

from benchmarks.measuring import Row, Steps, Target, measure_pairs, run
from benchmarks.places import Noops, Server, Tests, server

PAIRS: Final = 4
BACKLOG: Final = 4_000
QUICK: Final = (1, 500)
POOLS: Final = ("threads", "gevent", "prefork")
TARGET: Final = Target(0.8, at_least=True)


def worker_options(pool: str, concurrency: int, queue: str) -> str:
    """Return the options of a worker of either kind."""
    return f"-P {pool} -c {concurrency} -Q {queue} --loglevel WARNING"


def tests_per_second(place: Server, backlog: int, options: str) -> float:
    """Return the executions per second of a new worker."""
    with Tests(place) as tests:
        tests.publish(backlog)
        with place.worker("checks", options):
            return tests.drain(backlog).rate


def tasks_per_second(place: Server, backlog: int, options: str) -> float:
    """Return the tasks per second of a new worker without LiveCheck."""
    with Noops(place) as noops:
        noops.publish(backlog)
        with place.worker("bare", options):
            return noops.drain(backlog).rate


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--pool", choices=POOLS, default="threads", help="pool of both workers")
    parser.add_argument("--concurrency", type=int, default=8, metavar="N", help="slots of both workers")
    parser.add_argument("--backlog", type=int, default=BACKLOG, metavar="N", help="tests, or tasks, of one run")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="runs of each worker")


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure pairs of workers, each on a server of its own."""
    pairs, backlog = QUICK if options.quick else (options.pairs, options.backlog)

    def tests() -> float:
        with server() as place:
            return tests_per_second(place, backlog, worker_options(options.pool, options.concurrency, "livecheck"))

    def tasks() -> float:
        with server() as place:
            return tasks_per_second(place, backlog, worker_options(options.pool, options.concurrency, "bare"))

    measured = measure_pairs(pairs, tests, tasks, steps)
    what = f"executions of one worker, `-P {options.pool} -c {options.concurrency}`, all with a verdict"
    name = f"{options.pool} {options.concurrency}"
    return [Row.of_pairs(name, what, measured, beside="no-op tasks of Celery", unit="/s", target=TARGET)]


if __name__ == "__main__":
    run("throughput", __doc__, measure, add_options)
