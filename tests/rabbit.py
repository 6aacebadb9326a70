"""A RabbitMQ server of the tests' own, beside any other on the machine, and nothing left of it afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from amqp import Connection
from programs import Program
from support import wait_until

from livecheck_celery.cli.processes import free_port

#: Debian's ``rabbitmq-server`` is a wrapper that becomes the user rabbitmq; this is what it wraps.
_DEBIAN: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START: Final = 60.0


def rabbitmq_program() -> str | None:
    """Where RabbitMQ's server is; None where it is not installed."""
    return str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")


class RabbitMQ:
    """A server that runs.

    Attributes:
        port: where it speaks AMQP, on ``127.0.0.1``.
        url: of its broker, for Celery.
    """

    def __init__(self, port: int, program: Program) -> None:
        self.port = port
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self._program = program

    def wait_ready(self) -> None:
        """Wait until it takes connections; fails at once when it ends before that."""

        def answers() -> bool:
            assert self._program.is_running(), self._program.tail()
            with suppress(OSError), Connection(f"127.0.0.1:{self.port}", connect_timeout=1):
                return True
            return False

        wait_until(answers, _START, "RabbitMQ to take connections")

    def freeze(self) -> None:
        """Stop it in its tracks, until `thaw`."""
        self._program.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._program.thaw()


@contextmanager
def rabbitmq(program: str, directory: Path) -> Iterator[RabbitMQ]:
    """A server on ports of the system's choosing, with a name of its own, that writes to ``directory`` only."""
    port, names_port = free_port(), free_port()
    epmd = f"epmd -port {names_port} -address 127.0.0.1"
    env = {
        **os.environ,
        "HOME": str(directory),  # of the Erlang cookie
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"livecheck-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "config"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "env"),
        # The script becomes the server, so that signals reach it; otherwise it stays between as a shell.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",  # starts in half the time
    }
    # A server that finds no epmd starts one that outlives it.
    names = Program(epmd, cwd=directory, env=env, log=directory / "epmd.log")
    try:
        server = Program(f"{program} -noinput", cwd=directory, env=env, log=directory / "server.log")
        try:
            one = RabbitMQ(port, server)
            one.wait_ready()
            yield one
        finally:
            server.kill()
            server.end()
    finally:
        names.kill()
        names.end()
