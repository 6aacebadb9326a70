"""A process that goes through an outage; ``outage.py`` starts it, and tells it by lines what to measure.

Each answer is a line of JSON; all times are seconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Final

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

PER_SECOND: Final = 500
_PACED_CALLS: Final = 500
_TIGHT_CALLS: Final = 500
_WARM_CALLS: Final = 300

Answer = dict[str, Any]
#: Makes one request; the seconds of each call in it.
Request = Callable[[], tuple[float, ...]]


class Order(Case):
    """A case under which every request is tested."""

    probability = 1.0
    stored: Signal[str]


def paced(request: Request) -> Answer:
    """Measure requests made at the times at which a steady stream of them would come."""
    begun = time.perf_counter()
    taken = []
    for number in range(_PACED_CALLS):
        time.sleep(max(0.0, begun + number / PER_SECOND - time.perf_counter()))
        taken.append(request())
    # Of the calls that a request makes, the one that costs most.
    return max((_spread(call) for call in zip(*taken, strict=True)), key=lambda spread: spread["p99"])


def _spread(taken: Iterable[float]) -> dict[str, Any]:
    ordered = sorted(taken)
    return {"median": statistics.median(ordered), "p99": ordered[len(ordered) * 99 // 100], "max": ordered[-1]}


def tight(request: Request) -> Answer:
    """Measure requests made one after the other."""
    taken = [request() for _ in range(_TIGHT_CALLS)]
    return {"median": max(statistics.median(call) for call in zip(*taken, strict=True))}


def once(request: Request) -> Answer:
    """Measure one request, whatever comes of it."""
    started, raised = time.perf_counter(), None
    try:
        request()
    except Exception as exc:  # noqa: BLE001 - a user's request would have met it
        raised = type(exc).__name__
    return {"took": time.perf_counter() - started, "raised": raised}


def noop_delay(app: Celery, _: str) -> Request:
    """``noop.delay`` with stock settings."""

    @app.task(name="noop")
    def noop() -> None:
        """Never run; nobody consumes."""

    def request() -> tuple[float]:
        started = time.perf_counter()
        noop.delay()
        return (time.perf_counter() - started,)

    return request


def request_under_test(app: Celery, redis_url: str) -> Request:
    """``maybe_trigger()`` and ``send()``, for a test each time."""
    case = LiveCheck(app, redis_url=redis_url).add_case(Order, name="order")
    numbers = count()

    def request() -> tuple[float, float]:
        test_id = f"order-{next(numbers)}"
        begun = time.perf_counter()
        with case.maybe_trigger(test_id, side="buy"):
            triggered = time.perf_counter()
            case.stored.send("x")
            sent = time.perf_counter()
        ended = time.perf_counter()
        return (triggered - begun) + (ended - sent), sent - triggered

    return request


REQUESTS: Final = {"celery": noop_delay, "livecheck": request_under_test}
MEASURES: Final = {"paced": paced, "tight": tight, "once": once}


def main(kind: str, redis_url: str, broker_url: str, result_backend: str) -> None:
    """Use all connections for a while, say so, and then measure what is asked for."""
    app = Celery("victim", broker=broker_url, backend=result_backend or None)
    request = REQUESTS[kind](app, redis_url)
    for _ in range(_WARM_CALLS):
        request()
    print("{}", flush=True)  # noqa: T201 - read by who started this
    for line in sys.stdin:
        print(json.dumps(MEASURES[line.strip()](request)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
