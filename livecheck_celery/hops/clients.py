"""The HTTP clients that can be made to carry the current test, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.hops.gate import Gate

#: Names of the libraries, and of the packages to install.
CLIENTS: Final = ("aiohttp", "httpx", "requests", "urllib3")


def instrument(name: str, gate: Gate) -> Callable[[], None]:
    """Make every client of the library ``name`` in this process carry what is current as ``gate`` says.

    What is returned undoes it, in any order with others, and once more does no harm.

    Raises:
        ConfigurationError: no such library is known, or installed, or its version is not supported.
    """
    if name not in CLIENTS:
        raise ConfigurationError(f"instrument: {name!r} is no client that is known: {', '.join(CLIENTS)}")
    try:
        module = import_module(f"livecheck_celery.hops.{name}")
    except ModuleNotFoundError as exc:
        if exc.name != name:
            raise
        raise ConfigurationError(f"instrument: {name} is not installed: pip install {name}") from exc
    undo: Callable[[], None] = module.instrument(gate)
    return undo
