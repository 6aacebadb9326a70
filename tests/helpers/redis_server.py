"""A Redis server of the tests' own, beside any other on the machine; most tests run on Valkey, which a wheel brings."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from livecheck_celery.cli.processes import free_port
from tests.helpers.programs import Program
from tests.helpers.waiting import wait_until


def redis_program() -> str | None:
    """Where Redis' server is; None where it is not installed."""
    return shutil.which("redis-server")


@contextmanager
def redis_server(program: str, directory: Path) -> Iterator[str]:
    """A server on a port of the system's choosing that keeps nothing; its URL."""
    port = free_port()
    command = f"{program} --bind 127.0.0.1 --port {port} --save '' --dir {directory}"
    server = Program(command, cwd=directory, env=dict(os.environ), log=directory / "redis.log")
    try:
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:

            def answers() -> bool:
                assert server.is_running(), server.tail()
                with suppress(redis.ConnectionError):
                    return bool(client.ping())
                return False

            wait_until(answers, what="Redis to take connections")
        yield url
    finally:
        server.end()
