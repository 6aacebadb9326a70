"""What can be made to carry the current test out of a whole process, by name: HTTP clients, and OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.gate import Gate

#: By name, the module that must be there, and what to install for it.
CLIENTS: Final = {
    "aiohttp": ("aiohttp", "aiohttp"),
    "httpx": ("httpx", "httpx"),
    "otel": ("opentelemetry.sdk", '"livecheck-celery[otel]"'),
    "requests": ("requests", "requests"),
    "urllib3": ("urllib3", "urllib3"),
}

#: Modules that are not beside this one.
_MODULES: Final = {"otel": "livecheck_celery.propagation.otel"}


def instrument(name: str, gate: Gate) -> Callable[[], None]:
    """Make every client of the library ``name`` in this process carry what is current as ``gate`` says.

    What is returned undoes it, in any order with others, and once more does no harm.

    Raises:
        ConfigurationError: no such library is known, or installed, or its version is not supported.
    """
    if name not in CLIENTS:
        raise ConfigurationError(f"instrument: {name!r} is no client that is known: {', '.join(CLIENTS)}")
    module, package = CLIENTS[name]
    if not _is_installed(module):
        raise ConfigurationError(f"instrument: {name} is not installed: pip install {package}")
    undo: Callable[[], None] = import_module(
        _MODULES.get(name, f"livecheck_celery.propagation.clients.{name}")
    ).instrument(gate)
    return undo


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # not even what it is a part of; or a stand-in without a spec
        return False
