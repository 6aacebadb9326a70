"""One run, from the first start to the verdict."""

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

from chaos import plan
from chaos.actors import Cast
from chaos.audit import Run, audit
from chaos.evidence import Evidence, attempts, gather
from chaos.ledger import Ledger
from chaos.plan import DUE, Fault
from chaos.rules import Rules
from chaos.servers import Rabbit, Redis, Server
from chaos.traffic import Traffic
from tests.helpers.rabbitmq import rabbitmq_program

BROKERS: Final = ("separate", "same", "rabbitmq")
CASES: Final = ("plain", "async", "pulse")
QUEUES: Final = ("livecheck", "livecheck.schedule", "orders")
PERIOD: Final = 1.0
#: From so many executions on, everything takes the time it takes as shipped; below that, recovery is made to hurry.
_LONG: Final = 2_000
#: Seconds kept back of the limit to end programs and to look at what there is.
_EPILOGUE: Final = 20.0


@dataclass(frozen=True)
class Script:
    """What a run is to do; see the options of the command."""

    seed: int
    executions: int
    kills: int
    limit: float
    rate: float
    broker: str

    @property
    def is_long(self) -> bool:
        """Whether recovery takes the time it takes as shipped."""
        return self.executions >= _LONG

    @property
    def timing(self) -> dict[str, str]:
        """What programs are to know, in seconds."""
        known = {"CHAOS_PATIENCE": "240", "CHAOS_IMPATIENCE": "2"}
        if self.is_long:
            return {**known, "CHAOS_VISIBILITY": "60"}
        hurried = {
            "CHAOS_RESEND_AFTER": "4",
            "CHAOS_FORGET_AFTER": "4",
            "LIVECHECK_RECOVER_WITHIN": "4",
            "LIVECHECK_SHUTDOWN_TIMEOUT": "2",
        }
        return {**known, **hurried, "CHAOS_VISIBILITY": "5"}


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        script: of the run.
        seconds: it took.
        befell: how often each rule befell each target.
        verdicts: how many executions that were due one verdict had which; None for none.
        unknown: of how many it is not known whether they were triggered.
        given_up: of how many the workers died too often.
        slowest: seconds from the last signal of a test to its verdict, at most, and which test that was.
        ended: programs that Celery or kombu ended, and that were started again.
        problems: what is wrong, by what should hold.
    """

    script: Script
    seconds: float = 0.0
    befell: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    unknown: int = 0
    given_up: int = 0
    slowest: tuple[float, str] = (0.0, "none")
    ended: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)

    @property
    def went_well(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.problems.values())


class Progress(Protocol):
    """Whom a run tells how far it has come."""

    def step(self, what: str) -> None:
        """Tell that something else begins."""

    def at(self, triggered: int, kills: int) -> None:
        """Tell how far it is."""

    def fault(self, fault: Fault) -> None:
        """Tell that something befalls someone."""

    def done(self) -> None:
        """Tell that it is over."""


async def perform(script: Script, directory: Path, progress: Progress) -> Outcome:
    """One run, whose programs write to ``directory``."""
    begun = time.monotonic()
    progress.step("starting")
    state = Redis(directory / "state", durable=True)
    broker, broker_url = _broker(script.broker, directory / "broker", state)
    notes = Redis(directory / "notes", durable=False)
    cast = Cast(directory, script.timing, state, broker, notes, broker_url)
    with cast:
        run = _Performance(script, cast, progress, begun + script.limit)
        try:
            outcome = await run.perform()
        finally:
            progress.done()
    outcome.seconds = time.monotonic() - begun
    if outcome.seconds > script.limit:
        outcome.problems["The run keeps to its limit."] = [f"it took {outcome.seconds:.0f} s, not {script.limit:g} s"]
    return outcome


def _broker(kind: str, directory: Path, state: Redis) -> tuple[Server, str]:
    """The server, and its URL at some port."""
    if kind == "rabbitmq":
        program = rabbitmq_program()
        if program is None:
            raise click.ClickException("no rabbitmq-server is installed; on Debian: apt install rabbitmq-server")
        directory.mkdir()
        return Rabbit(program, directory), "amqp://guest:guest@127.0.0.1:{port}//"
    return state if kind == "same" else Redis(directory, durable=False), "redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def _meanwhile(*doing: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do all that besides the block; what is raised there is raised at the end."""
    tasks = [asyncio.create_task(one) for one in doing]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


class _Performance:
    def __init__(self, script: Script, cast: Cast, progress: Progress, deadline: float) -> None:
        self._script = script
        self._cast = cast
        self._progress = progress
        self._deadline = deadline - _EPILOGUE
        self._ledger = Ledger(cast.notes.url)
        self._rules = Rules(cast)
        self._attempts: dict[str, int] = {}
        self._befalling: list[asyncio.Task[None]] = []
        late = 12.0 if script.is_long else 4.0
        self._traffic = Traffic(self._ledger, cast.webs, plan.orders(script.seed, late))

    async def perform(self) -> Outcome:
        late: list[str] = []
        watching = [self._rules.look_after(), self._tell(), self._count_attempts()]
        async with _meanwhile(*watching):
            self._progress.step("running")
            async with _meanwhile(self._befall()):
                try:
                    await self._traffic.run(self._script.executions, self._script.rate, self._deadline)
                except TimeoutError:
                    in_time = f"{self._traffic.triggered} of {self._script.executions} executions"
                    late.append(f"only {in_time} were triggered in time")
            # What befalls somebody is mended at its end.
            await asyncio.gather(*self._befalling)
            self._progress.step("waiting for the last verdicts")
            self._ledger.hush()
            await self._until(self._nothing_open)
        waiting = await self._end_programs()
        self._progress.step("looking at what there is")
        with self._cast.state.client() as client:
            evidence = gather(client, CASES)
        evidence.waiting = waiting
        return self._judge(evidence, late)

    async def _befall(self) -> None:
        cast, script = self._cast, self._script
        # Some freezes outlast a lease.
        freeze = 14.0 if script.is_long else 5.0
        pairs = Rules.ending(cast), Rules.others(cast)
        faults = plan.faults(script.seed, script.executions, script.kills, *pairs, longest_freeze=freeze)
        for fault in faults:
            await self._traffic.reach(fault.at)
            self._progress.fault(fault)
            self._befalling.append(asyncio.create_task(self._rules.befall(fault)))

    async def _tell(self) -> None:
        while True:
            self._progress.at(self._traffic.triggered, self._rules.kills)
            await asyncio.sleep(0.5)

    async def _count_attempts(self) -> None:
        """Note how often open tests were claimed, which nothing tells afterwards."""
        while True:
            with suppress(redis.RedisError):
                await asyncio.to_thread(self._look_at_attempts)
            await asyncio.sleep(0.5)

    def _look_at_attempts(self) -> None:
        with self._cast.state.client() as client:
            for case in CASES:
                seen = attempts(client, case)
                self._attempts.update({test_id: max(seen[test_id], self._attempts.get(test_id, 0)) for test_id in seen})

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if time.monotonic() >= self._deadline:
                return
            await asyncio.sleep(0.2)

    def _nothing_open(self) -> bool:
        with self._cast.state.client() as client:
            return not any(client.zcard(f"livecheck:{{{case}}}:open") for case in CASES)

    def _waiting(self) -> dict[str, int]:
        return self._cast.broker.waiting(QUEUES)

    async def _end_programs(self) -> dict[str, int]:
        self._progress.step("waiting for the queues to be empty")
        actors = self._cast.actors
        for name, actor in actors.items():
            if name.startswith("beat") and actor.program:
                actor.program.terminate()
        await self._until(lambda: not any(self._waiting().values()))
        self._progress.step("ending the programs")
        for actor in actors.values():
            if actor.program:
                actor.program.terminate()
        for actor in actors.values():
            if actor.program:
                await self._rules.wait_exit(actor)
        return self._waiting()

    def _judge(self, evidence: Evidence, late: list[str]) -> Outcome:
        entries = self._ledger.entries()
        alone = self._cast.state is not self._cast.broker
        run = Run(
            evidence, entries, self._ledger.pulses(), self._attempts, PERIOD, self._rules.died, self._rules.stuck, alone
        )
        outcome = Outcome(self._script, befell=self._rules.befell, ended=self._rules.ended, problems=audit(run))
        if late:
            outcome.problems["All orders were placed in time."] = late
        reports = run.reports()
        for entry in entries.values():
            due = "PASS" if entry.order is None else DUE[entry.order.kind]
            outcome.unknown += not entry.known
            if entry.known and entry.id not in reports:
                outcome.verdicts[due, None] += 1
            for report in reports.get(entry.id, []):
                outcome.verdicts[due, report["state"]] += 1
                outcome.given_up += run.is_given_up(report)
                if entry.order is None or entry.order.kind != "pass":
                    continue
                taken = max(entry.taken.values(), default=report["at"])
                outcome.slowest = max(outcome.slowest, (report["at"] - taken, entry.id))
        return outcome
