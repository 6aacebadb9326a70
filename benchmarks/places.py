"""Real workers, their servers, and backlogs of messages for them."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import redis
from celery import Celery
from kombu.transport.redis import Channel

from livecheck_celery import Case, LiveCheck, Signal, State
from tests.helpers.programs import REPOSITORY, Program
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

READY: Final = 120.0
DRAINED: Final = 600.0
_FLUSH: Final = 60.0
#: Triggers between two flushes of the outbox, whose queue is bounded.
_CHUNK: Final = 2_000
_POLL: Final = 0.005
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Verdicts whose cases are read at each poll, once no message waits: those of messages that a worker has received.
_TAIL: Final = 400

#: The app without LiveCheck.
BARE: Final = "bare"

_numbers = count()


@dataclass(frozen=True)
class Server:
    """A Valkey server for one benchmark: broker, and state of the tests."""

    url: str
    client: redis.Redis

    @contextmanager
    def worker(self, app: str, options: str, **env: str) -> Iterator[Program]:
        """Run ``celery -A benchmarks.apps.APP worker OPTIONS``; the block begins when the worker was started."""
        celery = "benchmarks.apps.plain_celery" if app == BARE else "celery"
        with self.program(f"{sys.executable} -m {celery} -A benchmarks.apps.{app} worker {options}", **env) as worker:
            yield worker

    @contextmanager
    def program(self, command: str, **env: str) -> Iterator[Program]:
        """Run a command, and end it."""
        with tempfile.TemporaryDirectory(prefix="livecheck-") as directory:
            environ = {**inherited(), "BENCH_REDIS": self.url, "LIVECHECK_SHUTDOWN_TIMEOUT": "0.2", **env}
            program = Program(command, cwd=Path(directory), env=environ, log=Path(directory) / "log")
            try:
                yield program
            finally:
                program.kill()  # at once: what it was measured for is done
                program.end()


def inherited() -> dict[str, str]:
    """Return the environment of the programs: this one's, with the repository on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIVECHECK", "CELERY"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, and stop it."""
    with embedded() as valkey, redis.Redis(port=valkey.port, decode_responses=True) as client:
        yield Server(f"redis://127.0.0.1:{valkey.port}/0", client)


class Drained(NamedTuple):
    """How a backlog was worked off.

    Attributes:
        rate: finished per second, from the first message that was taken to the last that was finished.
        seconds: that time.
    """

    rate: float
    seconds: float


class _Order(Case):
    probability = 1.0
    sent: Signal[str]


class Tests:
    """Publishes tests for the cases of `benchmarks.apps.checks`, and counts their verdicts; a context manager."""

    queue = "livecheck"

    def __init__(self, server: Server, cases: int = 1) -> None:
        self._redis = server.client
        self._livecheck = LiveCheck(Celery("publisher", broker=server.url, set_as_current=False))
        self._cases = [
            self._livecheck.add_case(_Order, name=f"bench.order_{number}", max_rate=None) for number in range(cases)
        ]
        self._expected: list[int] = [0] * cases

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._livecheck.close()

    def publish(self, number: int) -> None:
        """Trigger ``number`` tests in requests, each with its signal, round the cases."""
        for index in range(number):
            case = index % len(self._cases)
            with self._cases[case].maybe_trigger(f"test-{next(_numbers)}"):
                self._cases[case].sent.send("x")
            self._expected[case] += 1
            if index % _CHUNK == _CHUNK - 1:
                self._flush()
        self._flush()

    def _flush(self) -> None:
        if not self._livecheck.flush(_FLUSH):
            raise RuntimeError(f"the outbox was not empty after {_FLUSH:g} s")

    def verdicts(self, only: int | None = None) -> dict[State, int]:
        """Count the verdicts by state; of the ``only`` last cases, or of all."""
        names = {case.name: None for case in self._cases[-(only or 0) :]}
        read = self._livecheck.runtime.store.suites.statistics_each(names).values()
        return {state: found for state in State if (found := sum(one.total_by_state[state] for one in read))}

    def drain(self, number: int, *, first: Callable[[], object] = lambda: None) -> Drained:
        """Wait for the verdicts of the last ``number`` tests; ``first`` is called when the first was taken.

        Raises:
            AssertionError: a test has no verdict, or one that is not PASS.
        """
        last = min(_TAIL, len(self._cases))
        expected = sum(self._expected[-last:])
        drained = drain(
            self._redis, self.queue, number, lambda: sum(self.verdicts(last).values()) >= expected, first=first
        )
        accounted = self.verdicts()
        assert accounted == {State.PASS: sum(self._expected)}, f"{sum(self._expected)} tests, verdicts: {accounted}"  # noqa: S101 - no rate without it
        return drained


class Noops:
    """Publishes messages of the task of `benchmarks.apps.bare`; a context manager."""

    queue = BARE

    def __init__(self, server: Server) -> None:
        self._redis = server.client
        self._app = Celery("publisher", broker=server.url, set_as_current=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._app.close()

    def publish(self, number: int) -> None:
        """Publish ``number`` messages, in batches."""
        with self._app.producer_pool.acquire() as producer:
            for _ in range(number):
                self._app.send_task("noop", queue=self.queue, producer=producer, ignore_result=True)

    def drain(self, number: int, *, first: Callable[[], object] = lambda: None) -> Drained:
        """Wait until no message waits, in the queue or in the worker."""
        return drain(self._redis, self.queue, number, lambda: not self._redis.hlen(Channel.unacked_key), first=first)


def drain(
    client: redis.Redis, queue: str, number: int, finished: Callable[[], bool], *, first: Callable[[], object]
) -> Drained:
    """Time a worker from the first message that it takes until ``queue`` is empty and all is ``finished``."""
    deadline = time.monotonic() + DRAINED
    _poll(lambda: _length(client, queue) < number, deadline)
    begun = time.perf_counter()
    first()
    _poll(lambda: not _length(client, queue), deadline)
    _poll(finished, deadline)
    seconds = time.perf_counter() - begun
    return Drained(number / seconds, seconds)


def _length(client: redis.Redis, queue: str) -> int:
    length: Any = client.llen(queue)
    return int(length)


def _poll(condition: Callable[[], bool], deadline: float) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not finish in {DRAINED:g} s")
        time.sleep(_POLL)


def wait_answering(place: Server, count: int) -> None:
    """Wait until ``count`` workers answer a ping."""
    with Celery("pings", broker=place.url, set_as_current=False) as app:
        wait_until(lambda: len(app.control.ping(timeout=0.5, limit=count) or ()) >= count, READY, f"{count} workers")


@contextmanager
def held(place: Server, queue: str) -> Iterator[None]:
    """Keep the messages of ``queue`` from workers, until the block ends."""
    place.client.rename(queue, f"{queue}-held")
    yield
    place.client.rename(f"{queue}-held", queue)


def children(pid: int) -> list[int]:
    """Return the process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += children(int(child))
    return found


def cpu_seconds(program: Program) -> float:
    """Return the processor time of a program and its children."""
    total = 0
    for pid in children(program.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident(program: Program) -> float:
    """Return the resident memory of a program and its children, in megabytes."""
    total = 0
    for pid in children(program.pid):
        total += int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
    return total / 1024


def commands(client: redis.Redis) -> int:
    """Return the number of commands that the server has processed, those of scripts included."""
    info: Mapping[str, Any] = client.info("stats")
    return int(info["total_commands_processed"])
