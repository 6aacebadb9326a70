"""The asyncio face: the names of `livecheck_celery`, whose methods are coroutines where the reference's are."""

from livecheck_celery.aio.case import Case
from livecheck_celery.aio.livecheck import LiveCheck
from livecheck_celery.aio.runner import TestRunner
from livecheck_celery.aio.signals import Signal
from livecheck_celery.binding import bind
from livecheck_celery.cases.base_signal import BaseSignal
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
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport

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
