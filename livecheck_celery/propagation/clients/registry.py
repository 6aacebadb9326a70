"""The clients that can be instrumented for a whole process, by name: HTTP clients, and OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Final, NamedTuple

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.utils.hosts import check_hosts


class Client(NamedTuple):
    """A client that can be instrumented.

    Attributes:
        module: module of LiveCheck with the ``instrument`` function.
        requires: module of the library, which must be installed.
        package: argument of ``pip install`` for the library.
    """

    module: str
    requires: str
    package: str


CLIENTS: Final = {
    "aiohttp": Client("livecheck_celery.propagation.clients.aiohttp", "aiohttp", "aiohttp"),
    "httpx": Client("livecheck_celery.propagation.clients.httpx", "httpx", "httpx"),
    "otel": Client("livecheck_celery.propagation.otel", "opentelemetry.sdk", '"livecheck-celery[otel]"'),
    "requests": Client("livecheck_celery.propagation.clients.requests", "requests", "requests"),
    "urllib3": Client("livecheck_celery.propagation.clients.urllib3", "urllib3", "urllib3"),
}


def instrument(name: str, gate: Gate) -> Callable[[], None]:
    """Make every client of the library ``name`` in this process carry the current test, as ``gate`` allows.

    Returns:
        A function that reverts this. The function is idempotent; several can be called in any order.

    Raises:
        ConfigurationError: the library is unknown, not installed, or of an unsupported version.
    """
    client = CLIENTS.get(name)
    if client is None:
        raise ConfigurationError(f"instrument: unknown client {name!r}; choose from {', '.join(CLIENTS)}")
    if not is_installed(client.requires):
        raise ConfigurationError(f"instrument: {name} is not installed; run: pip install {client.package}")
    undo: Callable[[], None] = import_module(client.module).instrument(gate)
    return undo


def checked_hosts(name: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts to which the client ``name`` may carry a test, validated.

    Raises:
        ConfigurationError: a host is invalid, or the client propagates to every host.
    """
    if name == "otel":
        raise ConfigurationError("instrument: otel: hosts= is not supported; OpenTelemetry propagates to all hosts")
    hosts = tuple(hosts)
    try:
        check_hosts(hosts)
    except ValueError as exc:
        raise ConfigurationError(f"instrument: {name}: hosts: {exc}") from None
    return hosts


def is_installed(module: str) -> bool:
    """Return whether the module ``module`` can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # its parent package is missing, or the module has no spec
        return False
