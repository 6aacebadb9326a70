"""Measure what LiveCheck adds to a Celery task: to a publish, and to an execution.

In one process, on a broker in memory: noop.apply_async(), and the call by which a worker executes the task, without the
receivers of LiveCheck; then with them, outside of a test; then with them, as part of one. The value is what is added to
both calls of one task; the time of the task alone is beside it. Times are processor time of the thread, so that other
programs change them little; no call waits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from celery import Celery, signals
from celery.app.trace import build_tracer

from benchmarks.measuring import Row, Steps, Target, run
from benchmarks.places import server
from livecheck_celery import Case, LiveCheck

ROUNDS: Final = 61
CALLS: Final = 200
QUICK: Final = 5
KINDS: Final = {
    "outside": ("LiveCheck's part of a task outside of a test", Target(5, of_value=True)),
    "inside": ("LiveCheck's part of a task that is part of a test", Target(25, of_value=True)),
}
_CONNECTED: Final = (
    signals.before_task_publish,
    signals.task_prerun,
    signals.task_success,
    signals.task_failure,
    signals.task_postrun,
)


class Order(Case):
    """A case that tests every request."""

    probability = 1.0


@contextmanager
def disconnected() -> Iterator[None]:
    """Remove all receivers of Celery's signals while the block lasts."""
    kept = [list(signal.receivers) for signal in _CONNECTED]
    for signal in _CONNECTED:
        signal.receivers.clear()  # the list itself: a tracer keeps a reference
    try:
        yield
    finally:
        for signal, receivers in zip(_CONNECTED, kept, strict=True):
            signal.receivers.extend(receivers)


def _noop() -> None:
    pass


class Task:
    """A task that does nothing, on a broker in memory."""

    def __init__(self) -> None:
        self._app = Celery("propagation", broker="memory://", set_as_current=False)
        self._app.conf.task_ignore_result = True
        self._noop: Any = self._app.task(name="noop")(_noop)
        self._app.finalize()

    def publish(self) -> float:
        """Return the processor seconds of `CALLS` publishes."""
        begun = time.thread_time()
        for _ in range(CALLS):
            self._noop.apply_async()
        return time.thread_time() - begun

    def purge(self) -> None:
        """Drop what was published."""
        self._app.control.purge()

    def headers(self) -> dict[str, Any]:
        """Return the headers of the message of a publish, here and now."""
        self._noop.apply_async()
        with self._app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            message = channel.basic_get(self._app.conf.task_default_queue, no_ack=True)
        return dict(message.headers)

    def execute(self, headers: dict[str, Any]) -> float:
        """Return the processor seconds of `CALLS` executions of a message with ``headers``, as in a worker."""
        tracer = build_tracer("noop", self._app.tasks["noop"], app=self._app)
        more = {"is_eager": False, "delivery_info": {}, "args": [], "kwargs": {}, "called_directly": False}
        begun = time.thread_time()
        for _ in range(CALLS):
            tracer(headers["id"], [], {}, {**headers, **more})
        return time.thread_time() - begun


def measure(options: argparse.Namespace, steps: Steps) -> list[Row]:
    """Measure each kind once in each round."""
    task = Task()
    with server() as place:
        livecheck = LiveCheck(Celery("checks", broker=place.url, set_as_current=False))
        case = livecheck.add_case(Order, name="bench.order", max_rate=None)
        blocks: dict[str, Callable[[], AbstractContextManager[Any]]] = {
            "alone": disconnected,
            "outside": nullcontext,
            "inside": case.maybe_trigger,
        }
        headers = {}
        for kind, block in blocks.items():
            with block():
                headers[kind] = task.headers()
        rounds = [
            {kind: _microseconds(task, kind, block, headers[kind]) for kind, block in blocks.items()}
            for _ in steps.count(range(QUICK if options.quick else ROUNDS), "rounds")
        ]
        livecheck.close()
    return [
        Row.of_pairs(
            kind,
            f"{what}, publish and execute",
            [(one[kind] - one["alone"], one["alone"]) for one in rounds],
            beside="the task without LiveCheck",
            unit="µs",
            target=target,
        )
        for kind, (what, target) in KINDS.items()
    ]


def _microseconds(
    task: Task, kind: str, block: Callable[[], AbstractContextManager[Any]], headers: dict[str, Any]
) -> float:
    """Return the microseconds of a publish and an execution."""
    with block():
        publish = task.publish()
    task.purge()
    with disconnected() if kind == "alone" else nullcontext():
        execute = task.execute(headers)
    return (publish + execute) / CALLS * 1e6


if __name__ == "__main__":
    run("propagation", __doc__, measure)
