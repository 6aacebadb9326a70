"""Inject faults into processes, servers and connections, and undo them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chaos.plan import FREEZE, Fault
from chaos.processes import Environment, Process
from chaos.servers import Redis, Server

KILLS: Final = ("SIGKILL", "SIGTERM")
#: Kills one process of a prefork pool, as the system does when it runs out of memory.
KILL_CHILD: Final = "SIGKILL a child of"
CLIENT_KILL: Final = "CLIENT KILL"
#: Methods of `FaultProxy`.
NETWORK: Final = ("refuse", "reset", "stall", "half_open", "black_hole", "truncate")
_TRUNCATE_AFTER: Final = 200

Pairs = list[tuple[str, str]]


def killing(environment: Environment) -> Pairs:
    """Return the (action, target) pairs that end a process."""
    return [(action, name) for name in (*environment.processes, *environment.servers) for action in KILLS]


def disturbing(environment: Environment) -> list[Pairs]:
    """Return the other (action, target) pairs: freezes, killed children, network faults, closed connections."""
    processes, servers = environment.processes, environment.servers
    return [
        [(FREEZE, name) for name in (*processes, *servers)],
        [(KILL_CHILD, name) for name, process in processes.items() if "prefork" in process.command],
        [(action, link) for link in environment.links for action in NETWORK],
        [(CLIENT_KILL, name) for name, server in servers.items() if isinstance(server, Redis)],
    ]


class FaultInjector:
    """Inject faults, and restart processes that exit.

    Args:
        environment: the processes and servers.
        exit_within: seconds a process has to exit after SIGTERM.

    Attributes:
        injected: how often each action was applied to each target.
        crashed: logs of processes that exited unexpectedly.
        stuck: logs of processes that did not exit in time after SIGTERM.
        ended_by_celery: logs of processes that exited because of an error in Celery or kombu.
    """

    def __init__(self, environment: Environment, exit_within: float) -> None:
        self._environment = environment
        self._exit_within = exit_within
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.injected: Counter[tuple[str, str]] = Counter()
        self.crashed: list[str] = []
        self.stuck: list[str] = []
        self.ended_by_celery: list[str] = []

    @property
    def kills(self) -> int:
        """Number of processes that were ended."""
        return kills(self.injected)

    async def inject(self, fault: Fault) -> None:
        """Inject ``fault``, and undo it after its time; wait first for the end of another fault of the same target."""
        async with self._locks[fault.target]:
            self.injected[fault.action, fault.target] += 1
            if fault.target in self._environment.links:
                await self._disturb_link(fault)
            elif fault.target in self._environment.processes:
                await self._disturb_process(fault)
            else:
                await self._disturb_server(fault, self._environment.servers[fault.target])

    async def _disturb_link(self, fault: Fault) -> None:
        link = self._environment.links[fault.target]
        act: Callable[..., None] = getattr(link, fault.action)
        await asyncio.to_thread(act, *([_TRUNCATE_AFTER] if fault.action == "truncate" else []))
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(link.heal)

    async def _disturb_process(self, fault: Fault) -> None:
        process = self._environment.processes[fault.target]
        program = process.running
        if fault.action == FREEZE:
            program.freeze()
            await asyncio.sleep(fault.seconds)
            program.thaw()
            return
        if fault.action == KILL_CHILD:
            for child in process.children()[:1]:
                os.kill(child, signal.SIGKILL)
            return
        if fault.action == "SIGTERM":
            program.terminate()
            await self.wait_exit(process)
        await asyncio.to_thread(program.kill)
        await asyncio.to_thread(program.end)
        await asyncio.sleep(fault.seconds)
        process.start()

    async def wait_exit(self, process: Process) -> None:
        """Wait until a process exits after SIGTERM; note it as stuck when it does not."""
        try:
            await asyncio.to_thread(process.running.wait_exit, self._exit_within)
        except AssertionError:
            self.stuck.append(str(process.log))

    async def _disturb_server(self, fault: Fault, server: Server) -> None:
        if fault.action == CLIENT_KILL and isinstance(server, Redis):
            await asyncio.to_thread(server.close_connections)
            return
        if fault.action == FREEZE:
            server.freeze()
            await asyncio.sleep(fault.seconds)
            server.thaw()
            return
        await asyncio.to_thread(server.kill if fault.action == "SIGKILL" else server.stop)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(server.start)
        self._environment.update_links(fault.target)

    async def supervise(self) -> None:
        """Restart and note processes that exit unexpectedly, until cancelled."""
        while True:
            for name, process in self._environment.processes.items():
                lock = self._locks[name]
                if lock.locked() or process.program is None or process.program.is_running():
                    continue
                async with lock:
                    (self.ended_by_celery if _is_error_of_celery(process.log) else self.crashed).append(
                        str(process.log)
                    )
                    await asyncio.to_thread(process.program.end)
                    process.start()
            await asyncio.sleep(1.0)


def kills(injected: Counter[tuple[str, str]]) -> int:
    """Return how many of the faults ended a process."""
    return sum(times for (action, _), times in injected.items() if action in KILLS)


def _is_error_of_celery(log: Path) -> bool:
    """Return whether a worker exited because of an error in Celery, as after the loss of its broker or a child."""
    _, unrecoverable, trace = log.read_text(errors="replace").rpartition("Unrecoverable error: ")
    trace = trace.partition("\n[20")[0]  # the next line of the log; those of verdicts can have tracebacks of their own
    return bool(unrecoverable) and "/livecheck_celery/" not in trace
