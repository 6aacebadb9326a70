"""A Redis server for tests, on a free port; most tests run on Valkey, which is installed as a wheel."""

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
    """Path of ``redis-server``; None if it is not installed."""
    return shutil.which("redis-server")


@contextmanager
def redis_server(program: str, directory: Path) -> Iterator[str]:
    """Run a server without persistence on a free port; its URL."""
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
