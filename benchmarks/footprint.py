"""Measure the memory that executions leave in Redis; after a million, it is that after ten thousand.

``python -m benchmarks.footprint`` starts a server, and runs executions through trigger, signal, claim and verdict.
After 10,000, 100,000 and 1,000,000 executions it prints the memory and the keys in use, waits until the records have
expired, and prints what is left.
"""

from __future__ import annotations

import argparse
import sys
import time

import redis

from livecheck_celery.store.database import FORGET_AFTER
from tests.helpers.factories import make_settings
from tests.helpers.footprints import BulkStore, per_test, run_executions, used
from tests.helpers.valkey import embedded

LEVELS = (10_000, 100_000, 1_000_000)
SLACK = 60.0
#: Keys of a case without a TTL: state, reports, three histories.
LASTING_KEYS = 5


def wait_forgotten(client: redis.Redis) -> None:
    """Wait until the keys of all executions have expired."""
    deadline = time.monotonic() + FORGET_AFTER + SLACK
    while client.dbsize() > LASTING_KEYS and time.monotonic() < deadline:
        time.sleep(1.0)


def main() -> None:
    """Print a line for each number of executions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=LEVELS[-1], help="maximum number of executions")
    last = parser.parse_args().executions
    with embedded() as server:
        store = BulkStore(make_settings(f"{server.connection_url}/0"))
        done = 0
        for level in [one for one in LEVELS if one < last] + [last]:
            started = time.monotonic()
            run_executions(store, done, level - done)
            rate = (level - done) / (time.monotonic() - started)
            done, most, keys = level, used(store.client), per_test(store.client)
            wait_forgotten(store.client)
            sys.stdout.write(
                f"{done:>9,} executions, {rate:,.0f} per second: {most / 1e6:6.1f} MB and {keys:>7,} keys of tests;"
                f" {used(store.client) / 1e6:.1f} MB and {per_test(store.client)} keys after they expired\n"
            )
            sys.stdout.flush()
        store.client.close()


if __name__ == "__main__":
    main()
