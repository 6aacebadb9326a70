"""Measure how long a worker takes to start, the memory that it has then, and the import, beside those of Celery.

A test, or a message of a task that does nothing, waits before the worker is started. The time is from the start of the
interpreter to the verdict, or to the end of the task. The imports are measured inside new interpreters.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from benchmarks.measuring import Row, Steps, Target, measure_pairs, run
from benchmarks.places import Noops, Tests, inherited, resident, server
from benchmarks.throughput import worker_options

PAIRS: Final = 5
QUICK: Final = 2
TARGET: Final = Target(1.3)
_CELERY: Final = "import celery"
_LIVECHECK: Final = "import livecheck_celery"
_NAMES: Final = "from livecheck_celery import Case, LiveCheck, Signal"
_PUBLISHER: Final = "import celery.app.base, celery.app.amqp, kombu.transport.redis"
#: Both packages import most of their modules when a name of them is first used.
IMPORTS: Final = (
    ("import", _LIVECHECK, f"`{_LIVECHECK}`", _CELERY, f"`{_CELERY}`", TARGET),
    ("names", _NAMES, f"`{_NAMES}`", _PUBLISHER, "the modules of an app that publishes to Redis", None),
)
_IMPORT: Final = "import time; begun = time.perf_counter(); {}; print(time.perf_counter() - begun)"


class Started(NamedTuple):
    """The seconds to the first verdict, or task, and the memory then, in megabytes."""

    seconds: float
    memory: float


def start(app: str, publisher: Callable[..., Tests | Noops]) -> Started:
    """Start a worker for which one message waits."""
    with server() as place, publisher(place) as messages:
        messages.publish(1)
        begun = time.perf_counter()
        with place.worker(app, worker_options("threads", 8, messages.queue)) as worker:
            messages.drain(1)
            return Started(time.perf_counter() - begun, resident(worker))


def import_time(statement: str) -> float:
    """Return the milliseconds that an import takes in a new interpreter."""
    command = [sys.executable, "-c", _IMPORT.format(statement)]
    output = subprocess.run(command, env=inherited(), capture_output=True, check=True, text=True).stdout  # noqa: S603 - ourselves
    return float(output) * 1e3


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure pairs of workers, and of imports."""
    count = QUICK if options.quick else PAIRS
    workers = measure_pairs(count, lambda: start("checks", Tests), lambda: start("bare", Noops), steps)
    statements = [statement for _, ours, _, peer, *_ in IMPORTS for statement in (ours, peer)]
    imports = [
        {statement: import_time(statement) for statement in statements}
        for _ in steps.count(range(2 * count), "imports")
    ]
    return [
        Row.of_pairs(
            "start",
            "start of a worker to its first verdict",
            [(ours.seconds, peer.seconds) for ours, peer in workers],
            beside="a worker of Celery, to its first task",
            unit="s",
            target=TARGET,
        ),
        Row.of_pairs(
            "memory",
            "memory of that worker then",
            [(ours.memory, peer.memory) for ours, peer in workers],
            beside="a worker of Celery",
            unit="MB",
            target=TARGET,
        ),
        *(
            Row.of_pairs(
                name, what, [(one[ours], one[peer]) for one in imports], beside=beside, unit="ms", target=target
            )
            for name, ours, what, peer, beside, target in IMPORTS
        ),
    ]


if __name__ == "__main__":
    run("starting", __doc__, measure)
