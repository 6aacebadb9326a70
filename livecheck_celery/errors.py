"""All errors that LiveCheck raises.

::

    LiveCheckError
    ├── ConfigurationError              a setting, an option or a declaration is wrong
    │   ├── UnknownCase                 no case of that name is declared in this process
    │   └── UnknownSignal               the case declares no signal of that name
    ├── TriggerRefused                  the test was not recorded, and will not run
    │   ├── InvalidPayload              a value is not JSON, does not fit its type, or is too large
    │   ├── DuplicateTest               a test of that id has no verdict yet
    │   └── TooManyTests                max_open, max_open_bytes or max_rate of the case is reached
    ├── UnreadableData                  Redis holds a value that LiveCheck did not write
    ├── ServerUnavailable               a server does not answer, refuses a call, or is too old
    │   ├── RedisUnavailable            Redis did not answer, or refused a command
    │   │   └── RedisRefused            Redis will refuse it again: the login, a permission, a key of another type
    │   │       └── UnreadableKey       of a value that LiveCheck did not write; also an UnreadableData
    │   ├── RedisTooOld                 Redis is older than 6.2
    │   └── BrokerUnavailable           the Celery broker did not accept a message
    ├── TestOutcome                     the verdict of a test; raised inside run()
    │   ├── LiveCheckTestSkipped        verdict SKIP
    │   ├── LiveCheckTestFailed         verdict FAIL
    │   ├── LiveCheckTestRaised         verdict ERROR
    │   └── LiveCheckTestTimeout        verdict TIMEOUT
    └── SuiteFailed                     the suite of a case is failing
        ├── ServiceDown                 a URL the case requests does not answer
        └── SuiteStalled                no test was received for warn_stalled_after seconds
"""

from __future__ import annotations

from typing import Any


class LiveCheckError(Exception):
    """Root of all LiveCheck errors."""


class ConfigurationError(LiveCheckError):
    """A setting, an option or the declaration of a case is wrong."""


class UnknownCase(ConfigurationError):
    """No case of that name is declared in this process."""


class UnknownSignal(ConfigurationError):
    """The case declares no signal of that name."""


class TriggerRefused(LiveCheckError):
    """The test was not recorded, and will not run."""


class InvalidPayload(TriggerRefused):
    """A value is not JSON, does not fit its type, or is over the size limit."""


class DuplicateTest(TriggerRefused):
    """A test of that id was requested and has no verdict yet."""


class TooManyTests(TriggerRefused):
    """``max_open`` or ``max_open_bytes`` of the case is reached, by tests without a verdict; or ``max_rate`` is."""


class UnreadableData(LiveCheckError):
    """Redis holds a value that LiveCheck did not write; the message names the key."""


class ServerUnavailable(LiveCheckError):
    """A server that LiveCheck depends on does not answer, refuses a call, or is too old."""


class RedisUnavailable(ServerUnavailable):
    """Redis did not answer, or refused a command.

    Attributes:
        unconfirmed: whether Redis may have executed the command, since only the answer is missing.
        was_cut: whether the answer is missing because the connection was closed, so that another attempt is quick.
    """

    unconfirmed = False
    was_cut = False


class RedisRefused(RedisUnavailable):
    """Redis refused the login or a command, and will do so until its configuration or LiveCheck's is changed."""


class UnreadableKey(RedisRefused, UnreadableData):
    """Redis refused a command, since a key has another type, or a value another form, than LiveCheck writes.

    Redis itself is available: what uses other keys works.
    """


class RedisTooOld(ServerUnavailable):
    """Redis is older than LiveCheck requires."""


class BrokerUnavailable(ServerUnavailable):
    """The Celery broker did not accept a message.

    Attributes:
        test: the `TestExecution` that `trigger` has recorded, which recovery sends as soon as the broker accepts
            messages: do not trigger it again. None if nothing was recorded.
    """

    test: Any = None


class SuiteFailed(LiveCheckError):
    """The suite of a case is failing (reference: ``SuiteFailed``).

    Attributes:
        accounted: names of the cases whose state already includes this failure; each failure counts once in a case.
        recurs: whether each test or fake request can fail the suite so; only the one that is reported calls the hook.
        waits_for_redis: whether a worker waits for Redis, up to a minute, to record the failure.
    """

    accounted: frozenset[str] = frozenset()
    recurs = False
    waits_for_redis = True


class ServiceDown(SuiteFailed):
    """A URL the case requests does not answer (reference: ``ServiceDown``)."""

    recurs = True


class SuiteStalled(SuiteFailed):
    """No test was received for ``warn_stalled_after`` seconds (reference: ``SuiteStalled``)."""

    waits_for_redis = False  # the check of the other cases would wait, too


class TestOutcome(LiveCheckError):
    """The verdict of a test, raised inside ``run()``."""

    __test__ = False  # keeps pytest from collecting it


class LiveCheckTestSkipped(TestOutcome):
    """The test was not run; raise it in ``run()`` to skip."""


class LiveCheckTestFailed(TestOutcome):
    """A contract did not hold: an assertion failed, or the value of a signal does not fit its type."""


class LiveCheckTestRaised(TestOutcome):
    """``run()`` raised something other than an assertion."""


class LiveCheckTestTimeout(TestOutcome):
    """A signal did not arrive in time; the message names it."""
