"""The libraries that can be made to carry the current test, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.hops.gate import Gate

#: By name, what is imported, and what is to be installed for it.
LIBRARIES: Final = {
    "aiohttp": ("aiohttp", "aiohttp"),
    "httpx": ("httpx", "httpx"),
    "otel": ("opentelemetry", "'livecheck-celery[otel]'"),
    "requests": ("requests", "requests"),
    "urllib3": ("urllib3", "urllib3"),
}


def instrument(name: str, gate: Gate) -> Callable[[], None]:
    """Make what this process sends by the library ``name`` carry what is current as ``gate`` says.

    What is returned undoes it, in any order with others, and once more does no harm.

    Raises:
        ConfigurationError: no such library is known, or installed, or its version is not supported.
    """
    if name not in LIBRARIES:
        raise ConfigurationError(f"instrument: {name!r} is not known; there are: {', '.join(LIBRARIES)}")
    module, package = LIBRARIES[name]
    if find_spec(module) is None:
        raise ConfigurationError(f"instrument: {module} is not installed: pip install {package}")
    undo: Callable[[], None] = import_module(f"livecheck_celery.hops.{name}").instrument(gate)
    return undo
