"""Tests that keep running inside a live system, on Celery and Redis.

>>> from livecheck_celery import LiveCheck, Signal
>>> livecheck = LiveCheck()
>>> @livecheck.case(probability=0.1)
... class test_order:
...     order_sent_to_db: Signal[dict]
...     def run(self, side):
...         assert self.order_sent_to_db.wait(timeout=10)["side"] == side
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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

#: Where each name is. A module is imported when the first of its names is read, as Celery does, so that a process that
#: imports the package for one name, or for another module of it, does not load everything.
_NAMES: Final = {
    "binding": ("bind",),
    "cases.base_signal": ("BaseSignal",),
    "cases.case": ("Case",),
    "cases.runner": ("TestRunner",),
    "cases.signals": ("Signal",),
    "config": ("UrlSettings",),
    "context": (
        "current_test",
        "detached",
        "is_synthetic",
    ),
    "errors": (
        "BrokerUnavailable",
        "ConfigurationError",
        "DuplicateTest",
        "InvalidPayload",
        "LiveCheckError",
        "LiveCheckTestFailed",
        "LiveCheckTestRaised",
        "LiveCheckTestSkipped",
        "LiveCheckTestTimeout",
        "RedisTooOld",
        "RedisUnavailable",
        "ServerUnavailable",
        "ServiceDown",
        "SuiteFailed",
        "SuiteStalled",
        "TestOutcome",
        "TooManyTests",
        "TriggerRefused",
        "UnknownCase",
        "UnknownSignal",
        "UnreadableData",
    ),
    "execution.runner": ("current_execution",),
    "livecheck": ("LiveCheck",),
    "models": (
        "SignalEvent",
        "State",
        "TestExecution",
        "TestReport",
    ),
    "worker": ("app",),  # made when first read: importing the package must not make a Celery app in a host's process
}
_MODULES: Final = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
