"""Measure the time from a signal's send() to the return of wait(), beside RPUSH and BLPOP between two connections.

Two processes: one sends, the other executes a test that waits for one signal after the other. Each signal is sent when
the test waits for it. For the peer, the first process pushes to a list, and the second is blocked in BLPOP.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final

import redis
from celery import Celery

from benchmarks.measuring import Row, Steps, Target, measure_pairs, percentile, run
from benchmarks.places import server
from livecheck_celery import Case, LiveCheck, Signal

PAIRS: Final = 11
SIGNALS: Final = 200
QUICK: Final = (2, 20)
#: Seconds for which the receiver waits before the sender sends.
PAUSE: Final = 0.002
TIMEOUT: Final = 60.0
LIST: Final = "peer"
TARGETS: Final = {"p50": (0.5, Target(1.3)), "p99": (0.99, Target(2.0))}

#: Sends the signal, or the item, of a number; the value is the time.
Send = Callable[[int, float], object]
#: Receives it, and returns the value.
Receive = Callable[[int], float]


class Order(Case):
    """A case whose test receives signals through the pipe's protocol."""

    pipe: Connection

    def run(self) -> None:
        """Wait for each signal, and answer with the times."""
        signals: Any = self.signals
        names = sorted(signals, key=lambda name: int(name[1:]))
        answer(self.pipe, len(names), lambda number: float(signals[names[number]].wait(timeout=TIMEOUT)))


def order_case(url: str, signals: int) -> tuple[LiveCheck, Order]:
    """Declare the case, in both processes."""
    livecheck = LiveCheck(Celery("handover", broker=url, set_as_current=False))
    declared = [Signal(f"s{number}") for number in range(signals)]
    return livecheck, livecheck.add_case(Order(app=livecheck, name="bench.order", signals=declared))


def answer(pipe: Connection, count: int, receive: Receive) -> None:
    """Receive ``count`` values; send a line before each, and the delays at the end."""
    delays = []
    for number in range(count):
        pipe.send(number)
        sent = receive(number)
        delays.append(time.monotonic() - sent)
    pipe.send(delays)


def receiver(url: str, signals: int, pipe: Connection) -> None:
    """Do what the lines of the pipe say, until one is empty."""
    livecheck, case = order_case(url, signals)
    case.pipe = pipe
    with redis.Redis.from_url(url) as client:

        def pop(_: int) -> float:
            item: Any = client.blpop([LIST], timeout=TIMEOUT)
            return float(item[1])

        while wanted := pipe.recv():
            if wanted == LIST:
                answer(pipe, signals, pop)
            else:
                case.execute(case.trigger(wanted))
    livecheck.close()


def hand_over(pipe: Connection, wanted: str, count: int, send: Send) -> list[float]:
    """Send ``count`` signals or items, each when the receiver waits for it; return the delays in microseconds."""
    pipe.send(wanted)
    for number in range(count):
        pipe.recv()
        time.sleep(PAUSE)
        send(number, time.monotonic())
    return [delay * 1e6 for delay in pipe.recv()]


@contextmanager
def receiving(url: str, signals: int) -> Iterator[Connection]:
    """Start the receiver, and end it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=receiver, args=(url, signals, theirs))
    process.start()
    try:
        yield ours
        ours.send("")
        process.join(TIMEOUT)
    finally:
        process.kill()
        process.join()


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure pairs of as many signals, and items of a list."""
    pairs, count = QUICK if options.quick else (PAIRS, SIGNALS)
    with server() as place, receiving(place.url, count) as pipe:
        livecheck, case = order_case(place.url, count)
        signals: Any = case.signals
        tests = iter(range(1_000_000))

        def ours() -> list[float]:
            test_id = f"test-{next(tests)}"
            return hand_over(
                pipe, test_id, count, lambda number, at: signals[f"s{number}"].send(repr(at), key=test_id, force=True)
            )

        def peer() -> list[float]:
            return hand_over(pipe, LIST, count, lambda _, at: place.client.rpush(LIST, repr(at)))

        ours(), peer()  # connections are opened, and the scripts loaded
        measured = measure_pairs(pairs, ours, peer, steps)
        livecheck.close()
    return [
        Row.of_pairs(
            name,
            f"a signal from `send()` to the return of `wait()`, {name}",
            [(percentile(mine, share), percentile(theirs, share)) for mine, theirs in measured],
            beside="RPUSH to BLPOP",
            unit="µs",
            target=target,
        )
        for name, (share, target) in TARGETS.items()
    ]


if __name__ == "__main__":
    run("handover", __doc__, measure)
