"""One run: start everything, place orders, inject faults, stop everything, and audit the state."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import click
import redis

from chaos import faults, plan
from chaos.audit import AuditInput, audit
from chaos.faults import FaultInjector
from chaos.ledger import Ledger
from chaos.plan import Fault
from chaos.processes import Environment
from chaos.servers import Rabbit, Redis, Server
from chaos.snapshot import Snapshot, attempts, take_snapshot
from chaos.traffic import Traffic
from tests.helpers.rabbitmq import rabbitmq_program

BROKERS: Final = ("separate", "same", "rabbitmq")
CASES: Final = ("plain", "async", "scheduled")
QUEUES: Final = ("livecheck", "livecheck.schedule", "orders")
#: Seconds between two fake requests.
PERIOD: Final = 1.0
#: From so many executions on, a run has time for the default timing of recovery.
_LONG: Final = 2_000
#: Seconds in which a process exits after its grace period, as promised.
EXIT_WITHIN: Final = 5.0
#: How often the queues are looked at, and found empty, before the workers are stopped.
_LOOKS: Final = 4
#: Seconds of the limit that are reserved for stopping the processes and for the audit.
_RESERVED: Final = 20.0


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    seed: int
    executions: int
    kills: int
    limit: float
    rate: float
    broker: str

    @property
    def is_long(self) -> bool:
        """Whether recovery keeps its default timing."""
        return self.executions >= _LONG

    @property
    def shutdown_timeout(self) -> float:
        """Grace period of a worker, in seconds: the default, or a shorter one in a short run."""
        return 10.0 if self.is_long else 2.0

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of all processes; times are in seconds."""
        common = {
            "CHAOS_SIGNAL_TIMEOUT": "240",
            "CHAOS_MISSING_SIGNAL_TIMEOUT": "2",
            "LIVECHECK_SHUTDOWN_TIMEOUT": f"{self.shutdown_timeout:g}",
        }
        if self.is_long:
            return {**common, "CHAOS_VISIBILITY_TIMEOUT": "60"}
        return {
            **common,
            "CHAOS_VISIBILITY_TIMEOUT": "5",
            "CHAOS_RESEND_AFTER": "4",
            "CHAOS_FORGET_AFTER": "4",
            "LIVECHECK_RECOVER_WITHIN": "4",
        }


@dataclass
class Result:
    """The result of a run.

    Attributes:
        seconds: duration.
        injected: how often each action was applied to each target.
        verdicts: number of executions by expected and by actual verdict; None for none.
        unanswered: number of tests that may or may not have been triggered.
        given_up: number of tests that were given up after too many workers died.
        slowest: maximum of the seconds from a test's last signal to its verdict, and the id of that test.
        ended_by_celery: logs of processes that exited because of an error in Celery or kombu.
        problems: what the audit found, by check.
    """

    seconds: float = 0.0
    injected: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    unanswered: int = 0
    given_up: int = 0
    slowest: tuple[float, str] = (0.0, "none")
    ended_by_celery: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the audit found no problem."""
        return not any(self.problems.values())

    @property
    def kills(self) -> int:
        """Number of processes that were ended."""
        return faults.kills(self.injected)


class Progress(Protocol):
    """Display of the progress of a run."""

    def phase(self, name: str) -> None:
        """Show that a phase of the run begins."""

    def update(self, triggered: int, kills: int) -> None:
        """Show how many executions were triggered, and how many processes were ended."""

    def fault(self, fault: Fault) -> None:
        """Show that a fault is injected."""

    def close(self) -> None:
        """Show nothing more."""


async def run(options: Options, directory: Path, progress: Progress) -> Result:
    """Run everything in ``directory``, and return the result.

    Raises:
        AssertionError: a process did not start.
        click.ClickException: RabbitMQ is not installed.
    """
    begun = time.monotonic()
    progress.phase("starting")
    state = Redis(directory / "state", durable=True)
    broker, broker_url = _broker(options.broker, directory / "broker", state)
    ledger = Redis(directory / "ledger", durable=False)
    with Environment(directory, options.variables, state, broker, ledger, broker_url) as environment:
        try:
            result = await _Run(options, environment, progress, begun + options.limit).run()
        finally:
            progress.close()
    result.seconds = time.monotonic() - begun
    if result.seconds > options.limit:
        result.problems["The run keeps to its limit."] = [f"it took {result.seconds:.0f} s, not {options.limit:g} s"]
    return result


def _broker(kind: str, directory: Path, state: Redis) -> tuple[Server, str]:
    """Return the broker, and a template of its URL."""
    if kind == "rabbitmq":
        program = rabbitmq_program()
        if program is None:
            raise click.ClickException("rabbitmq-server is not installed; on Debian: apt install rabbitmq-server")
        directory.mkdir()
        return Rabbit(program, directory), "amqp://guest:guest@127.0.0.1:{port}//"
    return state if kind == "same" else Redis(directory, durable=False), "redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def _in_background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the coroutines during the block, then cancel them and raise their first error."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


class _Run:
    def __init__(self, options: Options, environment: Environment, progress: Progress, deadline: float) -> None:
        self._options = options
        self._environment = environment
        self._progress = progress
        self._deadline = deadline - _RESERVED
        self._ledger = Ledger(environment.ledger.url)
        self._injector = FaultInjector(environment, options.shutdown_timeout + EXIT_WITHIN)
        self._attempts: dict[str, int] = {}
        self._faults: list[asyncio.Task[None]] = []
        longest_delay = 12.0 if options.is_long else 4.0
        self._traffic = Traffic(self._ledger, environment.web_urls, plan.orders(options.seed, longest_delay))

    async def run(self) -> Result:
        late: list[str] = []
        async with _in_background(self._injector.supervise(), self._show_progress(), self._count_attempts()):
            self._progress.phase("running")
            async with _in_background(self._inject_faults()):
                try:
                    await self._traffic.run(self._options.executions, self._options.rate, self._deadline)
                except TimeoutError:
                    late.append(f"only {self._traffic.triggered} of {self._options.executions} executions")
            # Each of them ends with undoing its fault.
            await asyncio.gather(*self._faults)
            self._progress.phase("waiting for the last verdicts")
            self._ledger.stop_fake_requests()
            await self._wait(self._nothing_open)
        pending = await self._stop_processes()
        self._progress.phase("auditing")
        with self._environment.state.client() as client:
            snapshot = take_snapshot(client, CASES)
        snapshot.pending_messages = pending
        return self._result(snapshot, late)

    async def _inject_faults(self) -> None:
        options, environment = self._options, self._environment
        planned = plan.faults(
            options.seed,
            options.executions,
            options.kills,
            faults.killing(environment),
            faults.disturbing(environment),
            longest_freeze=14.0 if options.is_long else 5.0,  # longer than a lease
        )
        for fault in planned:
            await self._traffic.wait_triggered(fault.at)
            self._progress.fault(fault)
            self._faults.append(asyncio.create_task(self._injector.inject(fault)))

    async def _show_progress(self) -> None:
        while True:
            self._progress.update(self._traffic.triggered, self._injector.kills)
            await asyncio.sleep(0.5)

    async def _count_attempts(self) -> None:
        """Count the claims of open tests, which the final state does not have."""
        while True:
            with suppress(redis.RedisError):
                await asyncio.to_thread(self._read_attempts)
            await asyncio.sleep(0.5)

    def _read_attempts(self) -> None:
        with self._environment.state.client() as client:
            for case in CASES:
                seen = attempts(client, case)
                self._attempts.update({test_id: max(seen[test_id], self._attempts.get(test_id, 0)) for test_id in seen})

    async def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition`` until the deadline; after that, the audit reports the problem."""
        while not condition():
            if time.monotonic() >= self._deadline:
                return
            await asyncio.sleep(0.2)

    def _nothing_open(self) -> bool:
        with self._environment.state.client() as client:
            return not any(client.zcard(f"livecheck:{{{case}}}:open") for case in CASES)

    def _pending_messages(self) -> dict[str, int]:
        return self._environment.broker.pending_messages(QUEUES)

    async def _stop_processes(self) -> dict[str, int]:
        """Stop beat, then, when the queues are empty, all other processes; return the messages that are left."""
        self._progress.phase("waiting for empty queues")
        processes = self._environment.processes
        beats = [process for name, process in processes.items() if name.startswith("beat")]
        for beat in beats:
            beat.running.terminate()
        for beat in beats:  # until then, it can send a message
            await self._injector.wait_exit(beat)
        for _ in range(_LOOKS):  # a message that a worker has received is in no queue, and can return to one
            await self._wait(lambda: not any(self._pending_messages().values()))
            await asyncio.sleep(0.3)
        self._progress.phase("stopping the processes")
        for process in processes.values():
            process.running.terminate()
        for process in processes.values():
            await self._injector.wait_exit(process)
        return self._pending_messages()

    def _result(self, snapshot: Snapshot, late: list[str]) -> Result:
        injector, environment = self._injector, self._environment
        entries = self._ledger.entries()
        observed = AuditInput(
            snapshot,
            entries,
            fake_requests=self._ledger.fake_requests(),
            attempts=self._attempts,
            period=PERIOD,
            crashed=injector.crashed,
            stuck=injector.stuck,
            only_livecheck=environment.state is not environment.broker,
        )
        result = Result(injected=injector.injected, ended_by_celery=injector.ended_by_celery, problems=audit(observed))
        if late:
            result.problems["All orders were placed in time."] = late
        reports = observed.reports()
        for entry in entries.values():
            result.unanswered += not entry.triggered
            if entry.triggered and entry.id not in reports:
                result.verdicts[entry.expected, None] += 1
            for report in reports.get(entry.id, []):
                result.verdicts[entry.expected, report["state"]] += 1
                result.given_up += observed.is_given_up(report)
                if entry.order is not None and entry.order.kind == "pass":
                    stored = max(entry.stored.values(), default=report["at"])
                    result.slowest = max(result.slowest, (report["at"] - stored, entry.id))
        return result
