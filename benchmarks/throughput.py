"""Measure how many tests a second one worker executes, beside tasks that do nothing.

The worker is a real process: celery worker -P threads -c 8. A backlog waits in the queue before it starts: tests whose
signal has been sent, or messages of a task that does nothing, for a worker with the same pool, concurrency, log level
and without results. The time is from the first message that is taken to the last that is finished; every test must
have the verdict PASS. A pair is one worker of each. The processor time of a worker hardly depends on other programs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, NamedTuple

from benchmarks.measuring import Row, Steps, Target, measure_pairs, run
from benchmarks.places import BARE, Noops, Server, Tests, cpu_seconds, server

PAIRS: Final = 4
BACKLOG: Final = 4_000
QUICK: Final = (1, 500)
POOLS: Final = ("threads", "gevent", "prefork")
TARGET: Final = Target(0.8, at_least=True)


def worker_options(pool: str, concurrency: int, queue: str) -> str:
    """Return the options of a worker of either kind."""
    return f"-P {pool} -c {concurrency} -Q {queue} --loglevel WARNING"


class Options(NamedTuple):
    """Of both workers, and the length of their backlogs."""

    pool: str
    concurrency: int
    backlog: int


class Throughput(NamedTuple):
    """What a worker did in a second, and the processor time that each of them took, in microseconds."""

    rate: float
    processor: float


def drained(place: Server, app: str, publisher: Callable[[Server], Tests | Noops], options: Options) -> Throughput:
    """Have a new worker work off a backlog."""
    with publisher(place) as messages:
        messages.publish(options.backlog)
        with place.worker(app, worker_options(options.pool, options.concurrency, messages.queue)) as worker:
            begun: list[float] = []
            rate = messages.drain(options.backlog, first=lambda: begun.append(cpu_seconds(worker))).rate
            return Throughput(rate, (cpu_seconds(worker) - begun[0]) / options.backlog * 1e6)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--pool", choices=POOLS, default="threads", help="pool of both workers")
    parser.add_argument("--concurrency", type=int, default=8, metavar="N", help="slots of both workers")
    parser.add_argument("--backlog", type=int, default=BACKLOG, metavar="N", help="tests, or tasks, of one run")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="runs of each worker")


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure pairs of workers, each on a server of its own."""
    pairs, backlog = QUICK if options.quick else (options.pairs, options.backlog)
    chosen = Options(options.pool, options.concurrency, backlog)

    def tests() -> Throughput:
        with server() as place:
            return drained(place, "checks", Tests, chosen)

    def tasks() -> Throughput:
        with server() as place:
            return drained(place, BARE, Noops, chosen)

    measured = measure_pairs(pairs, tests, tasks, steps)
    worker, beside = f"`-P {chosen.pool} -c {chosen.concurrency}`", "no-op tasks of Celery"
    return [
        Row.of_pairs(
            "rate",
            f"executions of one worker, {worker}, all with a verdict",
            [(ours.rate, peer.rate) for ours, peer in measured],
            beside=beside,
            unit="/s",
            target=TARGET,
        ),
        Row.of_pairs(
            "processor",
            f"processor time of that worker for each, {worker}",
            [(ours.processor, peer.processor) for ours, peer in measured],
            beside=beside,
            unit="µs",
        ),
    ]


if __name__ == "__main__":
    run("throughput", __doc__, measure, add_options)
