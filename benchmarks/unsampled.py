"""Compare the time of ``maybe_trigger()`` in a request that is not tested with Faust's: part of ``make bench``.

Nearly all requests are not tested. Exits with 1 if a request takes more than a third of the time it takes with Faust.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any, Final

from celery import Celery
from rich.console import Console
from rich.table import Table

from livecheck_celery import Case, LiveCheck

CALLS: Final = 20_000
ROUNDS: Final = 7
#: Maximum share of the time that Faust takes.
SHARE: Final = 1 / 3


def faust_case() -> Any:
    """Declare a case of Faust that tests no request."""
    try:
        import faust  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        sys.exit('benchmarks.unsampled needs faust-streaming: pip install -e ".[bench]"')
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
    started = time.perf_counter()
    for _ in range(CALLS):
        async with case.maybe_trigger("order-1", side="buy"):
            pass
    return (time.perf_counter() - started) / CALLS * 1e6


async def with_sync(case: Any) -> float:
    """Return the microseconds per request, with ``with``."""
    started = time.perf_counter()
    for _ in range(CALLS):
        with case.maybe_trigger("order-1", side="buy"):
            pass
    return (time.perf_counter() - started) / CALLS * 1e6


async def measure() -> dict[str, float]:
    """Return the fastest round of each, by name; rounds are interleaved."""
    unsampled, inactive = livecheck_case(probability=0.0), livecheck_case(active=False)
    kinds = {
        "Faust, async with": (with_async, faust_case()),
        "not sampled, async with": (with_async, unsampled),
        "not sampled, with": (with_sync, unsampled),
        "inactive, async with": (with_async, inactive),
        "inactive, with": (with_sync, inactive),
    }
    rounds = [{name: await kind(case) for name, (kind, case) in kinds.items()} for _ in range(ROUNDS)]
    return {name: min(one[name] for one in rounds) for name in kinds}


def main() -> None:
    """Print a table, and exit with 1 if a request takes more than its share."""
    times = asyncio.run(measure())
    peer = times.pop("Faust, async with")
    table = Table("a request that is not tested", "µs", "Faust's, µs", "share")
    for name, each in times.items():
        table.add_row(name, f"{each:.2f}", f"{peer:.2f}", f"1/{peer / each:.1f}")
    Console().print(table)
    if any(each > peer * SHARE for each in times.values()):
        sys.exit("a request that is not tested took more than a third of the time it takes with Faust")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.unsampled", description=__doc__).parse_args()
    main()
