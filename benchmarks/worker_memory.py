"""Memory of a worker while it executes many tests: flat.

``python -m benchmarks.worker_memory`` starts a server, which is the broker too, and one worker with
threads. It has tests executed that wait for a signal, pass, fail or time out, and prints the worker's resident memory.
``--executions`` is how many.
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

NAME = "worker_memory.test_order"
THREADS = 20
BATCH = 500
#: Executions that may be on their way at a time.
AHEAD = 1_000
SAMPLES = 10
RETRY_FOR = 120.0


class Order(Case):
    """A case with one signal."""

    probability = 1.0
    sent: Signal[str]

    def run(self, number: int) -> None:
        """Of a hundred tests one fails, one waits in vain."""
        value = self.sent.wait(timeout=0.05 if number % 100 == 1 else 60.0)
        assert number % 100 != 0, f"it was {value}"  # noqa: S101 - what a test is for


def declare(app: Celery) -> Order:
    """The case, alike in the worker and here."""
    return LiveCheck(app, recover_within=60.0).add_case(Order, name=NAME)


def resident(pid: int) -> float:
    """Megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def feed(case: Order, start: int, end: int) -> None:
    """Trigger tests, and send their signals, as requests do."""
    for number in range(start, end):
        with case.maybe_trigger(f"test-{number}", number):
            if number % 100 != 1:
                case.sent.send("x" * 100)
    case.app.runtime.outbox.flush(RETRY_FOR)


def executed(case: Order) -> int:
    """Verdicts there are."""
    return case.app.runtime.store.suites.statistics(NAME).total_by_state.total()


def measure(case: Order, pid: int, count: int) -> None:
    """Print a line now and then."""
    begun = time.monotonic()
    step = max(BATCH, count // SAMPLES)
    for start in range(0, count, BATCH):
        feed(case, start, min(start + BATCH, count))
        deadline = time.monotonic() + RETRY_FOR
        while start + BATCH - executed(case) > AHEAD and time.monotonic() < deadline:
            time.sleep(0.05)
        if (start + BATCH) % step < BATCH:
            tell(case, pid, begun)
    deadline = time.monotonic() + RETRY_FOR
    while executed(case) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    tell(case, pid, begun)
    totals = case.app.runtime.store.suites.statistics(NAME).total_by_state
    sys.stdout.write(", ".join(f"{state}: {totals[state]}" for state in State if totals[state]) + "\n")


def tell(case: Order, pid: int, begun: float) -> None:
    """One line."""
    sys.stdout.write(f"{time.monotonic() - begun:6.0f} s {executed(case):>8,} executed  {resident(pid):6.1f} MB\n")
    sys.stdout.flush()


def main() -> None:
    """Serve as the worker's app, or start it and feed it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    count = parser.parse_args().executions
    with embedded() as server:
        url = f"{server.connection_url}/0"
        worker = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-c", WORKER, url, str(Path(__file__).parent)], stdout=subprocess.DEVNULL
        )
        case = declare(Celery("orders", broker=url, set_as_current=False))
        try:
            measure(case, worker.pid, count)
        finally:
            worker.terminate()
            worker.wait(30)
            case.app.close()


WORKER = f"""
import sys
sys.path.insert(0, sys.argv[2])
from celery import Celery
from worker_memory import declare
app = Celery("orders", broker=sys.argv[1], set_as_current=False)
declare(app)
app.worker_main(["worker", "-P", "threads", "-c", "{THREADS}", "-Q", "livecheck", "--loglevel", "critical"])
"""

if __name__ == "__main__":
    main()
