"""URLs of Redis servers that do not answer."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.helpers.valkey import embedded


@contextmanager
def refusing() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


@contextmanager
def silent() -> Iterator[str]:
    """Run a server that never accepts, with a full backlog: connecting hangs, as behind a firewall that drops."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def frozen() -> Iterator[str]:
    """Run a server that accepts and never answers."""
    with embedded() as server:
        process: Any = server._process
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield f"{server.connection_url}/0"
        finally:
            os.kill(process.pid, signal.SIGCONT)


OUTAGES: list[Callable[[], Any]] = [refusing, silent, frozen]
