"""Measure what an execution costs a Redis Cluster, and compute from it what breaks first with 1,000 workers.

Three servers of a cluster run on this machine, and one as a broker. The operations of executions are those of the
store, with the keys of a hundred cases, sent by many connections at the same time, as those of many processes; each is
counted by the servers themselves: processor time, time in the command, commands, bytes, memory. The cost of PUBLISH in
a cluster is measured for the server that sends and for those that receive. A real worker executes tests whose state is
in the cluster, for the connections, and for the messages of the broker.

That is what is measured. The rest is arithmetic (benchmarks/scale_model.py): the rate of each operation, from the
constants in the code, times its cost, for installations of 10, 100 and 1,000 workers. To check that costs add up, whole
executions of many cases are replayed in a mix. Their processor time, as a share of the sum of their operations, is a
factor of the arithmetic.

Without --json, the table is printed. `make bench-scale` writes benchmarks/results/scale.json and docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import redis
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import report
from benchmarks.measuring import Steps, versions
from benchmarks.places import Tests, server
from benchmarks.scale_costs import (
    BATCH,
    OPERATIONS,
    Counted,
    Meter,
    Processes,
    counted,
    in_batches,
    measure_operations,
    measure_publish,
    measure_shared,
    settings_of,
    tests_of,
)
from benchmarks.scale_model import STEPS, Cost, Measured, Publish
from benchmarks.scale_report import headings, markdown, rows_of_costs, rows_of_steps
from benchmarks.throughput import worker_options
from tests.helpers.redis_servers import RedisCluster, RedisServer, redis_cluster, redis_program
from tests.helpers.redis_servers import server as redis_server

CASES: Final = 100
COUNT: Final = 5_000
QUICK: Final = 500
PUBLISHED: Final = 8
TESTS: Final = 2_000
#: Of one execution of the mix: those of a test that waits for ten seconds.
MIX: Final = ("record", "signal", "claim", *("renew",) * 3, *("read",) * 3, "signal", "verdict")
_URL: Final = "LIVECHECK_REDIS_URL"
_DRAINED: Final = 300.0


def mixed(url: str, meter: Meter, costs: dict[str, Cost], count: int) -> float:
    """Return the processor time of executions in a mix, as a share of the sum of what their operations cost alone."""
    store = Processes(settings_of(url))
    groups = [list(some) for some in in_batches(tests_of(9 * 10**6, count, CASES), BATCH)]
    steps = [(group, OPERATIONS[name]) for group in groups for name in MIX]
    # Each group is at another step than the others: group after group begins, and all advance in turn.
    order = sorted(range(len(steps)), key=lambda at: (at // len(MIX) + at % len(MIX), at))
    with meter.measuring("evalsha") as used:
        for at in order:
            group, operation = steps[at]
            operation(store, group)
    store.connections.close()
    store.client.close()
    return used[0].processor / count / sum(costs[name].processor for name in MIX)


def real_worker(cluster: RedisCluster, clients: Sequence[redis.Redis], count: int) -> tuple[Cost, tuple[float, float]]:
    """Have a real worker execute tests; return the cost of one for the broker, and the connections to each server.

    The connections are those of the worker, and of this process, which triggers the tests and sends their signals.
    """

    def connected() -> float:
        return sum(float(client.info("clients")["connected_clients"]) for client in clients) / len(clients)

    with environment(cluster.url), server() as place, Tests(place) as tests:
        begun, none = counted(place.client), connected()
        tests.publish(count)
        ours = connected() - none
        with place.worker("checks", worker_options("threads", 8, Tests.queue), **{_URL: cluster.url}):
            deadline = time.monotonic() + _DRAINED
            while sum(tests.verdicts().values()) < count:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the worker did not execute {count} tests in {_DRAINED:g} s")
                time.sleep(0.5)
            its = connected() - none - ours
        used = counted(place.client).since(begun)
    return message_cost(used, count), (its, ours)


def message_cost(used: Counted, count: int) -> Cost:
    """Return the cost of one message, from its publish to its receipt."""
    each = used.processor / count
    return Cost(0.0, each, each, each, used.commands / count, used.bytes_in / count, used.bytes_out / count)


@contextmanager
def environment(url: str) -> Iterator[None]:
    """Keep the state of this process's tests at ``url``."""
    os.environ[_URL] = url
    try:
        yield
    finally:
        del os.environ[_URL]


def measure(options: argparse.Namespace, steps: Steps) -> dict[str, Any]:
    """Measure all, and return it with what follows from it, as JSON types."""
    count = QUICK if options.quick else options.count
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="livecheck-")))
        cluster = stack.enter_context(redis_cluster(directory))
        single = stack.enter_context(redis_server(directory))
        clients = [one.client for one in cluster.servers]
        meter = Meter(clients)
        with steps.doing("operations of executions"):
            costs, waiting, kept = measure_operations(cluster.url, clients, meter, count, CASES)
        with steps.doing("operations of processes"):
            costs |= measure_shared(cluster.url, meter, count)
        with steps.doing("executions in a mix"):
            mix = mixed(cluster.url, meter, costs, count // 2)
        with steps.doing("PUBLISH"):
            publish = measure_publish(single.client, clients, PUBLISHED * count)
        with steps.doing("PUBLISH of redis-server"):
            peer = publish_of_redis(directory, PUBLISHED * count)
        cluster.flush()
        with steps.doing("a real worker"):
            broker, connections = real_worker(cluster, clients, QUICK if options.quick else TESTS)
    measured = Measured(costs, publish, waiting, kept, broker, connections, mix)
    found = {"publish_of_redis": asdict(peer[1]), "redis_server": peer[0]} if peer else {"publish_of_redis": None}
    return {"measured": asdict(measured), **found}


def publish_of_redis(directory: Path, count: int) -> tuple[str, Publish] | None:
    """Measure PUBLISH in a cluster of ``redis-server``; return its version, too. None if it is not installed."""
    program = redis_program()
    if program is None:
        return None
    with ExitStack() as stack:
        cluster = stack.enter_context(redis_cluster(directory / "redis", executable=program))
        single: RedisServer = stack.enter_context(redis_server(directory / "redis", executable=program))
        version = single.client.info("server")["redis_version"]
        return version, measure_publish(single.client, [one.client for one in cluster.servers], count)


def show(stored: dict[str, Any]) -> None:
    """Print both tables."""
    console = Console(width=None if os.isatty(1) else 160)
    for rows in (rows_of_costs(stored), rows_of_steps(stored)):
        table = Table(*rows[0])
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)


def main() -> None:
    """Measure, and print or write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer calls: to see that it works; writes nothing")
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"calls of each operation; {COUNT:,}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, not to the terminal")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the tables into this page of the documentation"
    )
    options = parser.parse_args()
    load, at, begun = os.getloadavg()[0], time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), time.monotonic()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        found = measure(options, Steps(progress, "scale"))
    about = {"at": at, "seconds": round(time.monotonic() - begun), "load": round(load, 1), "versions": versions()}
    stored = {"machine": report.machine(), **about, **found, "steps": [asdict(step) for step in STEPS]}
    if options.json is None or options.quick:
        show(stored)
    else:
        options.json.write_text(json.dumps(stored, indent=2) + "\n")
    if options.page is not None and not options.quick:
        text = options.page.read_text()
        options.page.write_text(report.with_table(text, markdown(stored), *headings()))


if __name__ == "__main__":
    main()
