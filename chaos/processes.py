"""The processes and servers of a run, and the proxies between them."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chaos.servers import HOST, Redis, Server, running
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.programs import Program

_REPOSITORY: Final = Path(__file__).parents[1]
_CELERY: Final = "celery -A chaos.order_system"
_WORKER: Final = "worker -l INFO --without-gossip --without-mingle"
_LIVECHECK: Final = f"{_CELERY} {_WORKER} -Q livecheck,livecheck.schedule"
_WEB: Final = (
    f"gunicorn -b {HOST}:{{port}} -k gthread --threads 16 --reuse-port --graceful-timeout 5 chaos.order_system:web"
)
#: The command of each process; ``{name}`` and ``{port}`` are its own.
COMMANDS: Final = {
    "worker-1": f"{_LIVECHECK} -P threads -c 100 -n {{name}}@%h",
    "worker-2": f"{_LIVECHECK} -P threads -c 100 -n {{name}}@%h",
    "worker-3": f"{_LIVECHECK} -P gevent -c 100 -n {{name}}@%h",
    "worker-4": f"{_LIVECHECK} -P prefork -c 6 -n {{name}}@%h",
    "beat-1": f"{_CELERY} beat -l INFO -s {{name}}.schedule --pidfile=",
    "beat-2": f"{_CELERY} beat -l INFO -s {{name}}.schedule --pidfile=",
    "web-1": _WEB,
    "web-2": _WEB,
    # With it, Celery's threads read the socket of the consumer, which then waits for RabbitMQ without limit; LiveCheck
    # prevents that in its own workers only.
    "shop": f"{_CELERY} {_WORKER} -Q orders -P threads -c 16 -n {{name}}@%h worker_enable_prefetch_count_reduction=no",
}
_READY: Final = {"worker": " ready.", "shop": " ready.", "beat": "beat: Starting", "web": "Listening at"}
_START_TIMEOUT: Final = 60.0


@dataclass
class Process:
    """A process that is restarted whenever it exits.

    Attributes:
        name: one of `COMMANDS`.
        command: of the process, a template.
        port: for a process that listens.
        starts: how often it was started.
        program: the current one.
    """

    name: str
    command: str
    port: int
    env: dict[str, str]
    directory: Path
    starts: int = 0
    program: Program | None = None

    @property
    def log(self) -> Path:
        """The output of the latest start."""
        return self.directory / f"{self.name}.{self.starts}.log"

    @property
    def running(self) -> Program:
        """The current program.

        Raises:
            RuntimeError: the process was never started.
        """
        if self.program is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.program

    def start(self) -> None:
        """Start the process; do not wait until it is ready."""
        self.starts += 1
        command = self.command.format(name=self.name, port=self.port)
        self.program = Program(command, cwd=self.directory, env=self.env, log=self.log)

    def children(self) -> list[int]:
        """Return the ids of the child processes."""
        pid = self.running.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_ready(self) -> None:
        """Wait until the process logs that it is ready."""
        self.running.wait_for(_READY[self.name.partition("-")[0]], timeout=_START_TIMEOUT)

    def close(self) -> None:
        """Kill the process, if it was started."""
        if self.program is not None:
            self.program.kill()
            self.program.end()


@dataclass
class Environment:
    """All processes and servers of a run, and the proxies between them; a context manager that ends them all.

    Attributes:
        directory: of all files and logs.
        variables: environment variables that all processes get.
        state: the Redis with the state.
        broker: the message broker; may be the same server.
        ledger: the Redis with the independent ledger.
        broker_url: a template with a ``{port}``.
        processes: by name.
        links: proxies, by process and server, such as ``worker-1 > state``.
    """

    directory: Path
    variables: dict[str, str]
    state: Redis
    broker: Server
    ledger: Redis
    broker_url: str
    processes: dict[str, Process] = field(default_factory=dict)
    links: dict[str, FaultProxy] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(running(self.state, self.broker, self.ledger))
            (self.directory / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
            ports = {name: _reserve_port(stack) for name in COMMANDS}
            for name, command in COMMANDS.items():
                env = self._env(name, [ports["web-1"], ports["web-2"]], stack)
                process = Process(name, command, ports[name], env, self.directory)
                self.processes[name] = process
                stack.callback(process.close)
                process.start()
            for process in self.processes.values():
                process.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def web_urls(self) -> list[str]:
        """URLs of the web services."""
        return [f"http://{HOST}:{process.port}" for name, process in self.processes.items() if name.startswith("web")]

    @property
    def servers(self) -> dict[str, Server]:
        """The servers that faults can be injected into, by name."""
        return {"state": self.state} if self.state is self.broker else {"state": self.state, "broker": self.broker}

    def update_links(self, server: str) -> None:
        """Connect the proxies to the port that a restarted ``server`` listens on."""
        for link, proxy in self.links.items():
            if link.endswith(f"> {server}") or self.state is self.broker:
                proxy.upstream = (HOST, self.servers[server].port)

    def _env(self, name: str, web_ports: list[int], stack: ExitStack) -> dict[str, str]:
        ports = {}
        for server, port in (("state", self.state.port), ("broker", self.broker.port)):
            link = stack.enter_context(FaultProxy((HOST, port)))
            self.links[f"{name} > {server}"] = link
            ports[server] = link.port
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LIVECHECK", "CELERY"))}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]]),
            "PYTHONPATH": str(_REPOSITORY),
            "CHAOS_STATE_URL": f"redis://{HOST}:{ports['state']}/0",
            "CHAOS_BROKER_URL": self.broker_url.format(port=ports["broker"]),
            "CHAOS_LEDGER_URL": self.ledger.url,
            "CHAOS_WEB_URLS": ",".join(f"http://{HOST}:{port}" for port in web_ports),
            **self.variables,
        }


def _reserve_port(stack: ExitStack) -> int:
    """Return a port that no other program gets while its process restarts.

    The process must listen with SO_REUSEPORT.
    """
    reserved = stack.enter_context(socket.socket())
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((HOST, 0))
    port: int = reserved.getsockname()[1]
    return port
