"""Measure what a request under test waits for LiveCheck, beside noop.delay() of Celery, and while Redis is black-holed.

Three processes make 500 requests a second, one process after the other, for a second each: noop.delay() with stock
Celery on Redis; requests under test, each with maybe_trigger() and one send(), on a healthy Redis; and the same on a
Redis to which packets are lost. `make bench-outage` has all other outages.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any, Final

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.outage import HEALTHY, TABLE, Client
from tests.helpers.outages import Place

ROUNDS: Final = 7
QUICK: Final = 3
#: Kinds of times: the block of maybe_trigger() alone, and with the signal.
PARTS: Final = {"trigger": "`maybe_trigger()`, sampled", "request": "`maybe_trigger()` and `send()`"}
TARGETS: Final = {"median": Target(1 / 20), "p99": Target(1 / 6)}
OUTAGE: Final = Target(1.5)
NAMES: Final = {"median": "p50", "p99": "p99"}

Round = dict[str, dict[str, Any]]


def _no_rabbit() -> Any:
    raise AssertionError("none of these rows needs RabbitMQ")


def measure_rounds(count: int, steps: Steps) -> list[Round]:
    """Measure each client once in each round."""
    with ExitStack() as stack:

        def client(kind: str, place: Place) -> Client:
            return stack.enter_context(Client(kind, place))

        healthy = stack.enter_context(HEALTHY["Redis healthy"](_no_rabbit))
        outage = stack.enter_context(TABLE["Redis black-holed"](_no_rabbit))
        clients = {
            "celery": client("celery", healthy),
            "healthy": client("livecheck", healthy),
            "black-holed": client("livecheck", outage),
        }
        outage.fail()
        rounds = [
            {name: one.measure("paced") or {} for name, one in clients.items()}
            for _ in steps.count(range(count), "rounds")
        ]
        outage.restore()
    return rounds


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure the request on a healthy Redis beside noop.delay(), and in the outage beside the healthy one."""
    rounds = measure_rounds(QUICK if options.quick else ROUNDS, steps)
    rows = []
    for part, what in PARTS.items():
        for spread, target in TARGETS.items():
            pairs = [(one["healthy"][part][spread] * 1e6, one["celery"]["request"]["median"] * 1e6) for one in rounds]
            rows.append(
                Row.of_pairs(
                    f"{part} {NAMES[spread]}",
                    f"{what}, {NAMES[spread]} at 500 requests/s",
                    pairs,
                    beside="`noop.delay()`, p50",
                    unit="µs",
                    target=target,
                )
            )
    for spread in TARGETS:
        pairs = [
            (one["black-holed"]["request"][spread] * 1e6, one["healthy"]["request"][spread] * 1e6) for one in rounds
        ]
        rows.append(
            Row.of_pairs(
                f"black-holed {NAMES[spread]}",
                f"{PARTS['request']}, Redis black-holed, {NAMES[spread]}",
                pairs,
                beside="the same on a healthy Redis",
                unit="µs",
                target=OUTAGE,
            )
        )
    return rows


if __name__ == "__main__":
    run("sampled", __doc__, measure)
