"""Compare the time of maybe_trigger() in a request that is not tested with Faust's.

Nearly all requests are not tested. A round is 20,000 requests with LiveCheck, then as many with Faust, in one process.
Times are processor time of the thread, so that other programs change them little; no request waits.
Without faust-streaming (pip install -e ".[bench]", in an environment of its own) the rows have no ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from celery import Celery

from benchmarks.measuring import Row, Steps, Target, run
from livecheck_celery import Case, LiveCheck

CALLS: Final = 20_000
ROUNDS: Final = 9
QUICK: Final = 3
TARGET: Final = Target(0.2)
WITHOUT: Final = "faust-streaming is not installed"

#: Measures the microseconds per request.
Kind = Callable[[Any], Awaitable[float]]


def faust_case() -> Any:
    """Declare a case of Faust that tests no request; None without Faust."""
    try:
        import faust  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        return None
    app = faust.App("bench", broker="memory://", store="memory://").LiveCheck()

    @app.case(name="bench.order", probability=0.0)
    class Order(app.Case):  # type: ignore[misc,name-defined] # Faust has no types here
        pass

    return Order


def livecheck_case(**options: Any) -> Any:
    """Declare a case of LiveCheck, whose Redis is not reachable."""
    livecheck = LiveCheck(Celery("bench", broker="redis://127.0.0.1:1/0", set_as_current=False))
    return livecheck.add_case(Case, name="order", **options)


async def with_async(case: Any) -> float:
    """Return the microseconds per request, with ``async with``."""
    started = time.thread_time()
    for _ in range(CALLS):
        async with case.maybe_trigger("order-1", side="buy"):
            pass
    return (time.thread_time() - started) / CALLS * 1e6


async def with_sync(case: Any) -> float:
    """Return the microseconds per request, with ``with``."""
    started = time.thread_time()
    for _ in range(CALLS):
        with case.maybe_trigger("order-1", side="buy"):
            pass
    return (time.thread_time() - started) / CALLS * 1e6


def row(name: str, what: str, rounds: list[dict[str, float]], *, peer: str | None) -> Row:
    """Make the row of one kind; without a peer, the row has no ratio."""
    if peer is None:
        return Row.alone(name, what, [one[name] for one in rounds], unit="µs", target=TARGET, note=WITHOUT)
    pairs = [(one[name], one[peer]) for one in rounds]
    return Row.of_pairs(name, what, pairs, beside="faust.livecheck, `async with`", unit="µs", target=TARGET)


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure all kinds in each round."""
    unsampled, inactive, faust = livecheck_case(probability=0.0), livecheck_case(active=False), faust_case()
    whats = {
        "async": "`maybe_trigger()`, not sampled, `async with`",
        "sync": "`maybe_trigger()`, not sampled, `with`",
        "inactive": "`maybe_trigger()` of an inactive case, `async with`",
    }
    kinds: dict[str, tuple[Kind, Any]] = {
        "async": (with_async, unsampled),
        "sync": (with_sync, unsampled),
        "inactive": (with_async, inactive),
    }
    if faust is not None:
        kinds["faust"] = (with_async, faust)
    count = QUICK if options.quick else ROUNDS

    async def rounds() -> list[dict[str, float]]:
        return [
            {name: await kind(case) for name, (kind, case) in kinds.items()}
            for _ in steps.count(range(count), "rounds")
        ]

    measured = asyncio.run(rounds())
    return [row(name, what, measured, peer=None if faust is None else "faust") for name, what in whats.items()]


if __name__ == "__main__":
    run("unsampled", __doc__, measure)
