"""A RabbitMQ server of the tests' own, beside any other on the machine, and nothing left of it afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from amqp import Connection

from livecheck_celery.cli.processes import free_port
from tests.helpers.programs import Program
from tests.helpers.waiting import wait_until

#: Debian's ``rabbitmq-server`` is a wrapper that becomes the user rabbitmq; this is what it wraps.
_DEBIAN: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START: Final = 60.0


def rabbitmq_program() -> str | None:
    """Where RabbitMQ's server is; None where it is not installed."""
    return str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")


class RabbitMQ:
    """A server on ports of the system's choosing, with a name of its own, that writes to ``directory`` only.

    Attributes:
        port: where it speaks AMQP, on ``127.0.0.1``.
        url: of its broker, for Celery.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._command = f"{program} -noinput"
        self._directory = directory
        self._names_port = free_port()
        self._env = _environment(self.port, self._names_port, directory)
        self._program: Program | None = None

    @contextmanager
    def names(self) -> Iterator[None]:
        """Keeps the register of node names: a server that finds none starts one that outlives it."""
        command = f"epmd -port {self._names_port} -address 127.0.0.1"
        names = Program(command, cwd=self._directory, env=self._env, log=self._directory / "epmd.log")
        try:
            yield
        finally:
            names.kill()
            names.end()

    def start(self) -> None:
        """Start it and wait until it takes connections; fails at once when it ends before that."""
        self._program = Program(self._command, cwd=self._directory, env=self._env, log=self._directory / "server.log")
        wait_until(self._answers, _START, "RabbitMQ to take connections")

    def _answers(self) -> bool:
        program = self._running()
        assert program.is_running(), program.tail()
        with suppress(OSError), Connection(f"127.0.0.1:{self.port}", connect_timeout=1):
            return True
        return False

    def stop(self) -> None:
        """Ask it to end."""
        program = self._running()
        program.terminate()
        program.wait_exit(_START)
        self.kill()

    def kill(self) -> None:
        """End it, if it runs, without a chance to clean up; what is durable in it is there again after `start`."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()
            program.end()

    def _running(self) -> Program:
        assert self._program is not None, "RabbitMQ was not started"
        return self._program

    def freeze(self) -> None:
        """Stop it in its tracks, until `thaw`."""
        self._running().freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._running().thaw()


@contextmanager
def rabbitmq(program: str, directory: Path) -> Iterator[RabbitMQ]:
    """A server that runs."""
    one = RabbitMQ(program, directory)
    with one.names():
        try:
            one.start()
            yield one
        finally:
            one.kill()


def _environment(port: int, names_port: int, directory: Path) -> dict[str, str]:
    return {
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
