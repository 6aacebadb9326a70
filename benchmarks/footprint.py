"""Measure the memory that executions leave in Redis: after many, it is that after 10,000.

Two servers: one case has 10,000 executions on the first, and as many as --executions on the second, each with one
signal, from trigger to verdict. When the records of all have expired, two minutes later, the memory in use is compared.
A million takes about twenty minutes: --executions 1000000.
"""

from __future__ import annotations

import argparse
import time
from typing import Final

import redis

from benchmarks.measuring import Row, Steps, Target, run
from livecheck_celery.store.database import FORGET_AFTER
from tests.helpers.factories import make_settings
from tests.helpers.footprints import BulkStore, per_test, run_executions, used
from tests.helpers.valkey import embedded

FEW: Final = 10_000
MANY: Final = 30_000
QUICK: Final = (500, 2_000)
PART: Final = 2_500
SLACK: Final = 60.0
#: Keys of a case without a TTL: state, reports, three histories.
LASTING_KEYS: Final = 5
#: Equal, but for the buffers of the server.
TARGET: Final = Target(1.05)


def execute(store: BulkStore, count: int, steps: Steps) -> None:
    """Run ``count`` executions."""
    for first in steps.count(range(0, count, PART), "thousands of executions, in parts of 2.5"):
        run_executions(store, first, min(PART, count - first))


def wait_forgotten(client: redis.Redis) -> None:
    """Wait until the keys of all executions have expired."""
    deadline = time.monotonic() + FORGET_AFTER + SLACK
    while client.dbsize() > LASTING_KEYS and time.monotonic() < deadline:
        time.sleep(0.5)


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure both servers."""
    few, many = QUICK if options.quick else (FEW, options.executions)
    with embedded() as first, embedded() as second:
        stores = [BulkStore(make_settings(f"{server.connection_url}/0")) for server in (first, second)]
        for store, count in zip(stores, (few, many), strict=True):
            execute(store, count, steps)
        most = used(stores[1].client)
        with steps.doing("the records expire, in two minutes"):
            for store in stores:
                wait_forgotten(store.client)
        after_few, after_many = (used(store.client) / 1e6 for store in stores)
        left = per_test(stores[1].client)
        for store in stores:
            store.client.close()
    note = f"{most / 1e6:.1f} MB at their end, {left} keys of tests left"
    return [
        Row.of_pairs(
            "memory",
            f"memory of Redis after {many:,} executions",
            [(after_many, after_few)],
            beside=f"after {few:,}",
            unit="MB",
            target=TARGET,
            note=note,
        )
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module."""
    parser.add_argument("--executions", type=int, default=MANY, metavar="N", help=f"number of the many; {MANY:,}")


if __name__ == "__main__":
    run("footprint", __doc__, measure, add_options)
