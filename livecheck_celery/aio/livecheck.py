"""LiveCheck of the asyncio face."""

from __future__ import annotations

from livecheck_celery.aio.case import Case
from livecheck_celery.aio.signals import Signal
from livecheck_celery.base_livecheck import BaseLiveCheck


class LiveCheck(BaseLiveCheck):
    """As `livecheck_celery.LiveCheck`; a class that is decorated becomes a case of the asyncio face."""

    Case = Case
    Signal = Signal
