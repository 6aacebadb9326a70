"""LiveCheck of the asyncio face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livecheck_celery.aio import extras
from livecheck_celery.aio.case import Case
from livecheck_celery.aio.signals import Signal
from livecheck_celery.base_livecheck import BaseLiveCheck

if TYPE_CHECKING:
    import httpx


class LiveCheck(BaseLiveCheck):
    """As `livecheck_celery.LiveCheck`; a class that is decorated becomes a case of the asyncio face."""

    Case = Case
    Signal = Signal

    def client(self, **kwargs: Any) -> httpx.AsyncClient:
        """Return an httpx client that propagates the current test to the hosts in ``http_hosts``.

        It takes proxies and certificates from the environment as `session` does.

        Args:
            kwargs: arguments of `httpx.AsyncClient`.

        Raises:
            ConfigurationError: httpx is not installed.
        """
        client: httpx.AsyncClient = extras.http().client(self.gate, **kwargs)
        return client
