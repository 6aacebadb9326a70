"""What a request pays that is not tested, beside Faust's ``maybe_trigger`` in the same run: part of ``make bench``.

That is nearly every request. The promise: at most a third of Faust's. Exits with 1 when it is not kept.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

import faust
from celery import Celery
from rich.console import Console
from rich.table import Table

from livecheck_celery import Case, LiveCheck

CALLS: Final = 20_000
ROUNDS: Final = 7
#: At most this part of what Faust takes.
SHARE: Final = 1 / 3


def faust_case() -> Any:
    """A case of Faust's that tests no request."""
    app = faust.App("bench", broker="memory://", store="memory://").LiveCheck()

    @app.case(name="bench.order", probability=0.0)
    class Order(app.Case):  # type: ignore[misc,name-defined] # Faust has no types here
        pass

    return Order


def livecheck_case(**options: Any) -> Any:
    """A case of LiveCheck's; nothing listens where its Redis should be."""
    livecheck = LiveCheck(Celery("bench", broker="redis://127.0.0.1:1/0", set_as_current=False))
    return livecheck.add_case(Case, name="order", **options)


async def with_async(case: Any) -> float:
    """Microseconds for each request, as ``async with``."""
    started = time.perf_counter()
    for _ in range(CALLS):
        async with case.maybe_trigger("order-1", side="buy"):
            pass
    return (time.perf_counter() - started) / CALLS * 1e6


async def with_sync(case: Any) -> float:
    """Microseconds for each request, as ``with``."""
    started = time.perf_counter()
    for _ in range(CALLS):
        with case.maybe_trigger("order-1", side="buy"):
            pass
    return (time.perf_counter() - started) / CALLS * 1e6


async def measure() -> dict[str, float]:
    """The best round of each, taken in turns."""
    lost, inactive = livecheck_case(probability=0.0), livecheck_case(active=False)
    kinds = {
        "Faust, async with": (with_async, faust_case()),
        "draw lost, async with": (with_async, lost),
        "draw lost, with": (with_sync, lost),
        "inactive, async with": (with_async, inactive),
        "inactive, with": (with_sync, inactive),
    }
    taken = [{name: await kind(case) for name, (kind, case) in kinds.items()} for _ in range(ROUNDS)]
    return {name: min(one[name] for one in taken) for name in kinds}


def main() -> None:
    """Measure, print a table, and say whether the promise is kept."""
    taken = asyncio.run(measure())
    peer = taken.pop("Faust, async with")
    table = Table("a request that is not tested", "µs", "Faust's, µs", "share")
    for name, each in taken.items():
        table.add_row(name, f"{each:.2f}", f"{peer:.2f}", f"1/{peer / each:.1f}")
    Console().print(table)
    if any(each > peer * SHARE for each in taken.values()):
        sys.exit("Promised: at most a third of Faust's. Not kept in this run.")


if __name__ == "__main__":
    main()
