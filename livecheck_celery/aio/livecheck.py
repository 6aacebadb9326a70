"""LiveCheck of the asyncio face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livecheck_celery.aio import extras
from livecheck_celery.aio.case import Case
from livecheck_celery.aio.signals import Signal
from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.models import TestReport

if TYPE_CHECKING:
    import httpx


class LiveCheck(BaseLiveCheck):
    """As `livecheck_celery.LiveCheck`; a class that is decorated becomes a case of the asyncio face."""

    Case = Case
    Signal = Signal

    async def post_report(self, report: TestReport) -> None:
        """Publish a report; override this to forward the reports of all cases (reference: ``LiveCheck.post_report``).

        `Case.post_report` calls it, for each report. LiveCheck has stored it before: this stores a report that was made
        by hand, unless ``send_reports`` is off. What it raises is logged.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        if report.at is None:
            await self.runtime.threads.call(self._store_report, report)

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
