"""What the asyncio face needs for HTTP requests, and imports when they are first made."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.propagation.clients.registry import is_installed


def http() -> Any:
    """Return the module `livecheck_celery.aio.http`.

    Raises:
        ConfigurationError: httpx is not installed.
    """
    if not is_installed("httpx"):
        raise ConfigurationError('aio: httpx is not installed; run: pip install "livecheck-celery[aio]"')
    return import_module("livecheck_celery.aio.http")
