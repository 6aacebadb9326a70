"""Measure the memory of a worker while it executes many tests; it does not grow.

``python -m benchmarks.worker_memory`` starts a server, which is also the broker, and a worker with threads. The worker
executes tests that wait for a signal and pass, fail or time out; its resident memory is printed ten times.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, State
from tests.helpers.valkey import embedded

NAME = "shop.test_order"
THREADS = 20
BATCH = 500
#: Maximum number of executions without a verdict.
PENDING = 1_000
SAMPLES = 10
TIMEOUT = 120.0


class Order(Case):
    """A case with one signal."""

    probability = 1.0
    sent: Signal[str]

    def run(self, number: int) -> None:
        """Wait for the signal; of a hundred tests, one fails and one times out."""
        value = self.sent.wait(timeout=0.05 if number % 100 == 1 else 60.0)
        assert number % 100 != 0, f"it was {value}"  # noqa: S101 - what a test is for


def declare(app: Celery) -> tuple[LiveCheck, Order]:
    """Declare the case, in the worker and in this process."""
    livecheck = LiveCheck(app, recover_within=60.0)
    return livecheck, livecheck.add_case(Order, name=NAME, max_rate=None)


def resident(pid: int) -> float:
    """Return the resident memory of a process, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def feed(case: Order, start: int, end: int) -> None:
    """Trigger tests and send their signals, as requests do."""
    for number in range(start, end):
        with case.maybe_trigger(f"test-{number}", number):
            if number % 100 != 1:
                case.sent.send("x" * 100)
    case.app.runtime.outbox.flush(TIMEOUT)


def executed(case: Order) -> int:
    """Return the number of verdicts."""
    return case.app.runtime.store.suites.statistics(NAME).total_by_state.total()


def measure(case: Order, pid: int, count: int) -> None:
    """Have ``count`` tests executed, and print a line for each tenth."""
    begun = time.monotonic()
    step = max(BATCH, count // SAMPLES)
    for start in range(0, count, BATCH):
        feed(case, start, min(start + BATCH, count))
        deadline = time.monotonic() + TIMEOUT
        while start + BATCH - executed(case) > PENDING and time.monotonic() < deadline:
            time.sleep(0.05)
        if (start + BATCH) % step < BATCH:
            print_line(case, pid, begun)
    deadline = time.monotonic() + TIMEOUT
    while executed(case) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    print_line(case, pid, begun)
    totals = case.app.runtime.store.suites.statistics(NAME).total_by_state
    sys.stdout.write(", ".join(f"{state}: {totals[state]}" for state in State if totals[state]) + "\n")


def print_line(case: Order, pid: int, begun: float) -> None:
    """Print the time, the number of verdicts and the memory."""
    sys.stdout.write(f"{time.monotonic() - begun:6.0f} s {executed(case):>8,} executed  {resident(pid):6.1f} MB\n")
    sys.stdout.flush()


def main() -> None:
    """Start the server and the worker, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000, help="number of executions")
    count = parser.parse_args().executions
    with embedded() as server:
        url = f"{server.connection_url}/0"
        worker = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-c", WORKER, url], cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL
        )
        livecheck, case = declare(Celery("orders", broker=url, set_as_current=False))
        try:
            measure(case, worker.pid, count)
        finally:
            worker.terminate()
            worker.wait(30)
            livecheck.close()


WORKER = f"""
import sys
from celery import Celery
from benchmarks.worker_memory import declare
app = Celery("orders", broker=sys.argv[1], set_as_current=False)
declare(app)
app.worker_main(["worker", "-P", "threads", "-c", "{THREADS}", "-Q", "livecheck", "--loglevel", "critical"])
"""

if __name__ == "__main__":
    main()
