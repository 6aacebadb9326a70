"""Who takes part in a run: servers, programs, and the network between any two of them."""

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
_CELERY: Final = "celery -A chaos.scenario"
_WORKER: Final = "worker -l INFO --without-gossip --without-mingle"
_OURS: Final = f"{_CELERY} {_WORKER} -Q livecheck,livecheck.schedule"
_WEB: Final = (
    f"gunicorn -b {HOST}:{{port}} -k gthread --threads 16 --reuse-port --graceful-timeout 5 chaos.scenario:web"
)
#: What each program is started with; ``{name}`` is its own, ``{port}`` where it is to listen.
COMMANDS: Final = {
    "worker-1": f"{_OURS} -P threads -c 100 -n {{name}}@%h",
    "worker-2": f"{_OURS} -P threads -c 100 -n {{name}}@%h",
    "worker-3": f"{_OURS} -P gevent -c 100 -n {{name}}@%h",
    "worker-4": f"{_OURS} -P prefork -c 6 -n {{name}}@%h",
    "beat-1": f"{_CELERY} beat -l INFO -s {{name}}.schedule --pidfile=",
    "beat-2": f"{_CELERY} beat -l INFO -s {{name}}.schedule --pidfile=",
    "web-1": _WEB,
    "web-2": _WEB,
    "shop": f"{_CELERY} {_WORKER} -Q orders -P threads -c 16 -n {{name}}@%h",
}
_READY: Final = {"worker": " ready.", "shop": " ready.", "beat": "beat: Starting", "web": "Listening at"}


@dataclass
class Actor:
    """A program that is started again whenever it ended.

    Attributes:
        name: of the actor.
        command: that starts it.
        port: where it listens, if it does.
        starts: how often it was started.
        program: the running one.
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
        """What the latest start writes to."""
        return self.directory / f"{self.name}.{self.starts}.log"

    def start(self) -> None:
        """Start it; it has much to do before it is ready."""
        self.starts += 1
        command = self.command.format(name=self.name, port=self.port)
        self.program = Program(command, cwd=self.directory, env=self.env, log=self.log)

    def children(self) -> list[int]:
        """Ids of the processes it has started."""
        assert self.program is not None  # noqa: S101 - for the type checker
        pid = self.program.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        assert self.program is not None  # noqa: S101 - for the type checker
        self.program.wait_for(_READY[self.name.partition("-")[0]], timeout=60.0)


@dataclass
class Cast:
    """All who take part; a context manager, at whose end nobody is left.

    Attributes:
        directory: where everybody writes.
        state: the Redis that holds the state.
        broker: the server that brings messages.
        notes: the Redis of the independent ledger, which nothing befalls.
        actors: the programs, by name.
        links: the network, by who uses it and what it leads to: ``worker-1 > state``.
    """

    directory: Path
    timing: dict[str, str]
    state: Redis
    broker: Server
    notes: Redis
    broker_url: str
    actors: dict[str, Actor] = field(default_factory=dict)
    links: dict[str, FaultProxy] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(running(self.state, self.broker, self.notes))
            (self.directory / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
            ports = {name: _kept_port(stack) for name in COMMANDS}
            for name, command in COMMANDS.items():
                env = self._env(name, [ports["web-1"], ports["web-2"]], stack)
                actor = Actor(name, command, ports[name], env, self.directory)
                self.actors[name] = actor
                stack.callback(_end, actor)
                actor.start()
            for actor in self.actors.values():
                actor.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def webs(self) -> list[str]:
        """Where the web services answer."""
        return [f"http://{HOST}:{actor.port}" for name, actor in self.actors.items() if name.startswith("web")]

    def server(self, name: str) -> Server:
        """The ``state``, or the ``broker``."""
        return self.state if name == "state" else self.broker

    def lead_to(self, name: str) -> None:
        """Have the network lead to where ``state`` or ``broker`` listens now."""
        for link, proxy in self.links.items():
            if link.endswith(f"> {name}") or self.state is self.broker:
                proxy.upstream = (HOST, self.server(name).port)

    def _env(self, name: str, webs: list[int], stack: ExitStack) -> dict[str, str]:
        way = {}
        for place, server in (("state", self.state), ("broker", self.broker)):
            link = stack.enter_context(FaultProxy((HOST, server.port)))
            self.links[f"{name} > {place}"] = link
            way[place] = link.port
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LIVECHECK", "CELERY"))}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]]),
            "PYTHONPATH": str(_REPOSITORY),
            "CHAOS_STATE_URL": f"redis://{HOST}:{way['state']}/0",
            "CHAOS_BROKER_URL": self.broker_url.format(port=way["broker"]),
            "CHAOS_LEDGER_URL": self.notes.url,
            "CHAOS_WEBS": ",".join(f"http://{HOST}:{port}" for port in webs),
            **self.timing,
        }


def _kept_port(stack: ExitStack) -> int:
    """A port that nobody gets while the one it is for is away; who listens there must share it."""
    place = stack.enter_context(socket.socket())
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind((HOST, 0))
    port: int = place.getsockname()[1]
    return port


def _end(actor: Actor) -> None:
    if actor.program is not None:
        actor.program.kill()
        actor.program.end()
