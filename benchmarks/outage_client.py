"""The client process of ``outage.py``: makes requests, and measures how long each call takes.

Reads the name of a measurement from each line of its input, and answers with a line of JSON; times are in seconds.
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
#: Makes one request; returns the seconds that each call in it took.
Request = Callable[[], tuple[float, ...]]


class Order(Case):
    """A case that tests every request."""

    probability = 1.0
    stored: Signal[str]


def paced(request: Request) -> Answer:
    """Measure requests that are made at a constant rate."""
    begun = time.perf_counter()
    times = []
    for number in range(_PACED_CALLS):
        time.sleep(max(0.0, begun + number / PER_SECOND - time.perf_counter()))
        times.append(request())
    calls = [_spread(call) for call in zip(*times, strict=True)]
    # The slower of the calls that a request makes; the first one alone, and all of them.
    slower = max(calls, key=lambda spread: spread["p99"])
    return {**slower, "trigger": calls[0], "request": _spread(sum(each) for each in times)}


def _spread(times: Iterable[float]) -> dict[str, Any]:
    ordered = sorted(times)
    return {"median": statistics.median(ordered), "p99": ordered[len(ordered) * 99 // 100], "max": ordered[-1]}


def tight(request: Request) -> Answer:
    """Measure requests that are made without a pause."""
    times = [request() for _ in range(_TIGHT_CALLS)]
    return {"median": max(statistics.median(call) for call in zip(*times, strict=True))}


def once(request: Request) -> Answer:
    """Measure one request, which may raise."""
    started, raised = time.perf_counter(), None
    try:
        request()
    except Exception as exc:  # noqa: BLE001 - any error would reach the user's request
        raised = type(exc).__name__
    return {"took": time.perf_counter() - started, "raised": raised}


def noop_delay(app: Celery, _: str) -> Request:
    """Return a request that calls ``noop.delay()`` with Celery's default settings."""

    @app.task(name="noop")
    def noop() -> None:
        """Do nothing; there is no worker."""

    def request() -> tuple[float]:
        started = time.perf_counter()
        noop.delay()
        return (time.perf_counter() - started,)

    return request


def request_under_test(app: Celery, redis_url: str) -> Request:
    """Return a request that calls ``maybe_trigger()`` and ``send()``; each is tested."""
    case = LiveCheck(app, redis_url=redis_url).add_case(Order, name="order", max_rate=None)
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
    """Warm up all connections, print an empty answer, then answer each line of the input."""
    app = Celery("client", broker=broker_url, backend=result_backend or None)
    request = REQUESTS[kind](app, redis_url)
    for _ in range(_WARM_CALLS):
        request()
    print("{}", flush=True)  # noqa: T201 - read by the parent process
    for line in sys.stdin:
        print(json.dumps(MEASURES[line.strip()](request)), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main(*sys.argv[1:])
