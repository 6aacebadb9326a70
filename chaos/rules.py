"""The rules: what can befall whom, and how."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chaos.actors import Actor, Cast
from chaos.plan import FREEZE, Fault
from chaos.servers import Redis, Server

#: Seconds a program has to end by itself after SIGTERM.
_GRACE: Final = 30.0
#: Kills one of the processes of a pool, as the system does when memory is short.
CHILD: Final = "SIGKILL a child of"
#: What can be done to the network between two; what ends connections needs no mending.
NETWORK: Final = ("refuse", "reset", "stall", "half_open", "black_hole", "truncate")
_TRUNCATE_AFTER: Final = 200

Pairs = list[tuple[str, str]]


class Rules:
    """Has faults befall the cast, and mends everything afterwards.

    Attributes:
        befell: how often each rule befell each target.
        died: logs of programs that ended without having been told to.
        stuck: logs of programs that did not end when they were told to.
        ended: those of the dead whose end is Celery's or kombu's own doing.
    """

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.befell: Counter[tuple[str, str]] = Counter()
        self.died: list[str] = []
        self.stuck: list[str] = []
        self.ended: list[str] = []

    @staticmethod
    def ending(cast: Cast) -> Pairs:
        """What ends a process, and whom."""
        servers = ["state"] if cast.state is cast.broker else ["state", "broker"]
        return [(rule, name) for name in (*cast.actors, *servers) for rule in ("SIGKILL", "SIGTERM")]

    @staticmethod
    def others(cast: Cast) -> list[Pairs]:
        """What only disturbs, by its kind."""
        servers = ["state"] if cast.state is cast.broker else ["state", "broker"]
        return [
            [(FREEZE, name) for name in (*cast.actors, *servers)],
            [(CHILD, name) for name, actor in cast.actors.items() if "prefork" in actor.command],
            [(rule, link) for link in cast.links for rule in NETWORK],
            [("CLIENT KILL", name) for name in servers if isinstance(cast.server(name), Redis)],
        ]

    @property
    def kills(self) -> int:
        """Processes that were ended so far."""
        return sum(times for (rule, _), times in self.befell.items() if rule in ("SIGKILL", "SIGTERM"))

    async def befall(self, fault: Fault) -> None:
        """Have ``fault`` happen and pass; whom something befalls already, it waits for."""
        async with self._turns[fault.target]:
            self.befell[fault.rule, fault.target] += 1
            if fault.target in self._cast.links:
                await self._disturb(fault)
            elif fault.target in self._cast.actors:
                await self._harm_program(fault)
            else:
                await self._harm_server(fault, self._cast.server(fault.target))

    async def _disturb(self, fault: Fault) -> None:
        link = self._cast.links[fault.target]
        act: Callable[..., None] = getattr(link, fault.rule)
        await asyncio.to_thread(act, *([_TRUNCATE_AFTER] if fault.rule == "truncate" else []))
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(link.heal)

    async def _harm_program(self, fault: Fault) -> None:
        actor = self._cast.actors[fault.target]
        program = actor.program
        assert program is not None  # noqa: S101 - for the type checker
        if fault.rule == FREEZE:
            program.freeze()
            await asyncio.sleep(fault.seconds)
            program.thaw()
            return
        if fault.rule == CHILD:
            for child in actor.children()[:1]:
                os.kill(child, signal.SIGKILL)
            return
        if fault.rule == "SIGTERM":
            program.terminate()
            await self.wait_exit(actor)
        await asyncio.to_thread(program.kill)
        await asyncio.to_thread(program.end)
        await asyncio.sleep(fault.seconds)
        actor.start()

    async def wait_exit(self, actor: Actor) -> None:
        """Wait for the end of a program that was told to end, and note where it does not come."""
        assert actor.program is not None  # noqa: S101 - for the type checker
        try:
            await asyncio.to_thread(actor.program.wait_exit, _GRACE)
        except AssertionError:
            self.stuck.append(str(actor.log))

    async def _harm_server(self, fault: Fault, server: Server) -> None:
        if fault.rule == "CLIENT KILL" and isinstance(server, Redis):
            await asyncio.to_thread(server.cut)
            return
        if fault.rule == FREEZE:
            server.freeze()
            await asyncio.sleep(fault.seconds)
            server.thaw()
            return
        await asyncio.to_thread(server.kill if fault.rule == "SIGKILL" else server.stop)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(server.start)
        self._cast.lead_to(fault.target)

    async def look_after(self) -> None:
        """Start again what ended by itself, as a supervisor does, and remember it; until cancelled."""
        while True:
            for name, actor in self._cast.actors.items():
                turn = self._turns[name]
                if turn.locked() or actor.program is None or actor.program.is_running():
                    continue
                async with turn:
                    (self.ended if _is_of_celery(actor.log) else self.died).append(str(actor.log))
                    await asyncio.to_thread(actor.program.end)
                    actor.start()
            await asyncio.sleep(1.0)


def _is_of_celery(log: Path) -> bool:
    """Whether a worker was ended by an error of Celery's own, as happens on the loss of its broker or its children."""
    _, unrecoverable, trace = log.read_text(errors="replace").rpartition("Unrecoverable error: ")
    return bool(unrecoverable) and "/livecheck_celery/" not in trace
