"""Measure a worker of the asyncio face in which 10,000 tests wait at a time.

Tests are triggered until 10,000 wait for their signal in one worker; they wait for 5 s more, in which the processor
time of the worker is measured; then all signals are sent. The rate is the number of tests, divided by the time until
all wait and the time from the first of the signals to the last verdict. Tests are triggered and signals sent by this
process, on another core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from celery import Celery

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.places import Server, cpu_seconds, resident, server, wait_answering
from livecheck_celery import Case, LiveCheck, Signal, State
from tests.helpers.waiting import wait_until

TESTS: Final = 10_000
QUICK: Final = 500
WARM: Final = 200
#: Several periods of all that a worker does by itself, which are 2 to 10 s.
WAIT: Final = 20.0
TIMEOUT: Final = 300.0
OPTIONS: Final = "-P threads -c 8 -Q livecheck --loglevel WARNING"
_CHUNK: Final = 2_000


class _Order(Case):
    probability = 1.0
    sent: Signal[str]


class Sender:
    """Triggers tests and sends their signals, as requests do."""

    def __init__(self, place: Server) -> None:
        self.livecheck = LiveCheck(Celery("publisher", broker=place.url, set_as_current=False))
        self._case = self.livecheck.add_case(_Order, name="bench.order", max_rate=None)

    def trigger(self, first: int, count: int) -> None:
        """Trigger ``count`` tests."""
        for number in range(first, first + count):
            with self._case.maybe_trigger(f"test-{number}"):
                pass
            self._flush_each(number)
        self.livecheck.flush(TIMEOUT)

    def send(self, first: int, count: int) -> None:
        """Send their signals."""
        for number in range(first, first + count):
            self._case.sent.send("x", key=f"test-{number}", force=True)
            self._flush_each(number)
        self.livecheck.flush(TIMEOUT)

    def _flush_each(self, number: int) -> None:
        if number % _CHUNK == 0:  # the outbox is bounded
            self.livecheck.flush(TIMEOUT)

    def wait_verdicts(self, count: int) -> None:
        """Wait until ``count`` tests have a verdict."""
        wait_until(lambda: self.verdicts().total() >= count, TIMEOUT, f"{count} verdicts")

    def verdicts(self) -> Counter[State]:
        """Count the verdicts by state."""
        return Counter(self._case.statistics().total_by_state)


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure one worker."""
    count = QUICK if options.quick else options.tests
    with server() as place, tempfile.TemporaryDirectory(prefix="livecheck-") as directory:
        all_wait = Path(directory) / "all-wait"
        environment = {"BENCH_TESTS": str(WARM + count), "BENCH_ALL_WAIT": str(all_wait)}
        sender = Sender(place)
        with place.worker("aio_checks", OPTIONS, **environment) as worker:
            wait_answering(place, 1)
            sender.trigger(0, WARM)
            sender.send(0, WARM)
            sender.wait_verdicts(WARM)
            empty = resident(worker)
            with steps.doing(f"starting {count} tests"):
                begun = time.perf_counter()
                sender.trigger(WARM, count)
                wait_until(all_wait.exists, TIMEOUT, f"{count} tests that wait")
                starting = time.perf_counter() - begun
            time.sleep(1.0)  # for the lease of the last ones, and the garbage of the burst
            full, idle = resident(worker), cpu_seconds(worker)
            begun = time.perf_counter()
            steps.wait(WAIT, "all wait")
            idle = (cpu_seconds(worker) - idle) / (time.perf_counter() - begun)
            with steps.doing("sending the signals"):
                begun = time.perf_counter()
                sender.send(WARM, count)
                sender.wait_verdicts(WARM + count)
                ending = time.perf_counter() - begun
        verdicts = sender.verdicts()
        sender.livecheck.close()
    passed = verdicts.get(State.PASS, 0) - WARM
    note = f"to start all: {count / starting:,.0f} /s; from the signals to the verdicts: {count / ending:,.0f} /s"
    return [
        Row.alone(
            "rate",
            f"executions of one asyncio worker, {count:,} waiting",
            [count / (starting + ending)],
            unit="/s",
            target=Target(1_000, of_value=True, at_least=True),
            note=note,
        ),
        Row.alone(
            "false timeouts",
            "tests without PASS, although each signal was sent",
            [count - passed],
            unit="tests",
            target=Target(0, of_value=True),
        ),
        Row.alone(
            "memory",
            "memory of the worker for each waiting test",
            [(full - empty) * 1024 / count],
            unit="KB",
            target=Target(25, of_value=True),
        ),
        Row.alone(
            "idle",
            f"share of a core, while {count:,} tests wait",
            [idle * 100],
            unit="%",
            target=Target(10, of_value=True),
        ),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--tests", type=int, default=TESTS, metavar="N", help="tests that wait at a time")


if __name__ == "__main__":
    run("waiting", __doc__, measure, add_options)
