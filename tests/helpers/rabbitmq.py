"""A private RabbitMQ server, which can run beside others and leaves no files or processes behind."""

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

#: The server's own script; Debian's ``rabbitmq-server`` wraps it and switches to the user rabbitmq.
_DEBIAN: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START: Final = 60.0


def rabbitmq_program() -> str | None:
    """Return the path of ``rabbitmq-server``; None if it is not installed."""
    return str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")


class RabbitMQ:
    """A server on free ports and with a unique node name, which writes only to ``directory``.

    Attributes:
        port: of AMQP, on ``127.0.0.1``.
        url: for Celery.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._command = f"{program} -noinput"
        self._directory = directory
        self._epmd_port = free_port()
        self._env = _environment(self.port, self._epmd_port, directory)
        self._program: Program | None = None

    @contextmanager
    def epmd(self) -> Iterator[None]:
        """Run epmd, the registry of node names; otherwise the server would start one that outlives it."""
        command = f"epmd -port {self._epmd_port} -address 127.0.0.1"
        epmd = Program(command, cwd=self._directory, env=self._env, log=self._directory / "epmd.log")
        try:
            yield
        finally:
            epmd.kill()
            epmd.end()

    def start(self) -> None:
        """Start the server and wait until it accepts connections; fail at once if it exits before."""
        self._program = Program(self._command, cwd=self._directory, env=self._env, log=self._directory / "server.log")
        wait_until(self._answers, _START, "RabbitMQ to accept connections")

    def _answers(self) -> bool:
        program = self._running()
        assert program.is_running(), program.tail()
        with suppress(OSError), Connection(f"127.0.0.1:{self.port}", connect_timeout=1):
            return True
        return False

    def empty(self) -> str:
        """Delete LiveCheck's queues, with the messages that an earlier test left in them; return the URL."""
        with Connection(f"127.0.0.1:{self.port}") as connection:
            for queue in ("livecheck", "livecheck.schedule"):
                connection.channel().queue_delete(queue)
        return self.url

    def stop(self) -> None:
        """Shut the server down."""
        program = self._running()
        program.terminate()
        program.wait_exit(_START)
        self.kill()

    def kill(self) -> None:
        """Kill the server, if it runs; durable queues are there again after `start`."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()
            program.end()

    def _running(self) -> Program:
        assert self._program is not None, "RabbitMQ was not started"
        return self._program

    def freeze(self) -> None:
        """Stop the server with SIGSTOP."""
        self._running().freeze()

    def thaw(self) -> None:
        """Continue the server with SIGCONT."""
        self._running().thaw()


@contextmanager
def rabbitmq(program: str, directory: Path) -> Iterator[RabbitMQ]:
    """Run a server."""
    one = RabbitMQ(program, directory)
    with one.epmd():
        try:
            one.start()
            yield one
        finally:
            one.kill()


def _environment(port: int, epmd_port: int, directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(directory),  # of the Erlang cookie
        "ERL_EPMD_PORT": str(epmd_port),
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
        # With this, the script replaces itself by the server, so that signals reach the server.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",  # starts in half the time
    }
