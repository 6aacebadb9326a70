"""Tests that keep running inside a live system, on Celery and Redis.

>>> from livecheck_celery import LiveCheck, Signal
>>> livecheck = LiveCheck()
>>> @livecheck.case(probability=0.1)
... class test_order:
...     order_sent_to_db: Signal[dict]
...     def run(self, side):
...         assert self.order_sent_to_db.wait(timeout=10)["side"] == side
"""

from typing import TYPE_CHECKING, Any

from livecheck_celery.binding import bind
from livecheck_celery.cases.base_signal import BaseSignal
from livecheck_celery.cases.case import Case
from livecheck_celery.cases.runner import TestRunner
from livecheck_celery.cases.signals import Signal
from livecheck_celery.config import UrlSettings
from livecheck_celery.context import current_test, detached, is_synthetic
from livecheck_celery.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DuplicateTest,
    InvalidPayload,
    LiveCheckError,
    LiveCheckTestFailed,
    LiveCheckTestRaised,
    LiveCheckTestSkipped,
    LiveCheckTestTimeout,
    RedisTooOld,
    RedisUnavailable,
    ServerUnavailable,
    ServiceDown,
    SuiteFailed,
    SuiteStalled,
    TestOutcome,
    TooManyTests,
    TriggerRefused,
    UnknownCase,
    UnknownSignal,
    UnreadableData,
)
from livecheck_celery.execution.runner import current_execution
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport

if TYPE_CHECKING:
    from livecheck_celery.worker import app as app

__version__ = "0.1.0"

__all__ = [
    "BaseSignal",
    "BrokerUnavailable",
    "Case",
    "ConfigurationError",
    "DuplicateTest",
    "InvalidPayload",
    "LiveCheck",
    "LiveCheckError",
    "LiveCheckTestFailed",
    "LiveCheckTestRaised",
    "LiveCheckTestSkipped",
    "LiveCheckTestTimeout",
    "RedisTooOld",
    "RedisUnavailable",
    "ServerUnavailable",
    "ServiceDown",
    "Signal",
    "SignalEvent",
    "State",
    "SuiteFailed",
    "SuiteStalled",
    "TestExecution",
    "TestOutcome",
    "TestReport",
    "TestRunner",
    "TooManyTests",
    "TriggerRefused",
    "UnknownCase",
    "UnknownSignal",
    "UnreadableData",
    "UrlSettings",
    "bind",
    "current_execution",
    "current_test",
    "detached",
    "is_synthetic",
]


def __getattr__(name: str) -> Any:
    # Made when first read: importing the package must not make a Celery app in a host's process.
    if name == "app":
        from livecheck_celery.worker import app  # noqa: PLC0415 - see above

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
