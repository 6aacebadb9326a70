"""What executions leave in Redis: the same after a million as after ten thousand.

``python -m benchmarks.footprint`` runs executions through trigger, signal, claim and verdict on a
server of its own, waits at each level until what is forgotten is gone, and prints what is left. ``--executions`` is the
last level.
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
#: Keys of a case that stay: state, reports, three histories.
LASTING = 5


def settled(client: redis.Redis) -> None:
    """Wait until nothing of single executions is left."""
    deadline = time.monotonic() + FORGET_AFTER + SLACK
    while client.dbsize() > LASTING and time.monotonic() < deadline:
        time.sleep(1.0)


def main() -> None:
    """Print a line for each level."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=LEVELS[-1])
    last = parser.parse_args().executions
    with embedded() as server:
        store = BulkStore(make_settings(f"{server.connection_url}/0"))
        done = 0
        for level in [one for one in LEVELS if one < last] + [last]:
            started = time.monotonic()
            run_executions(store, done, level - done)
            rate = (level - done) / (time.monotonic() - started)
            done, most, keys = level, used(store.client), per_test(store.client)
            settled(store.client)
            sys.stdout.write(
                f"{done:>9,} executions, {rate:,.0f} a second: {most / 1e6:6.1f} MB and {keys:>7,} keys of tests,"
                f" {used(store.client) / 1e6:.1f} MB and {per_test(store.client)} when those are forgotten\n"
            )
            sys.stdout.flush()
        store.client.close()


if __name__ == "__main__":
    main()
