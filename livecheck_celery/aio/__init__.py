"""The asyncio face: the names of `livecheck_celery`, whose methods are coroutines where the reference's are."""

from livecheck_celery.aio.case import Case
from livecheck_celery.aio.livecheck import LiveCheck
from livecheck_celery.aio.runner import TestRunner
from livecheck_celery.aio.signals import Signal
from livecheck_celery.cases.base_signal import BaseSignal

__all__ = ["BaseSignal", "Case", "LiveCheck", "Signal", "TestRunner"]
