"""Every error LiveCheck raises, under one root.

::

    LiveCheckError
    ├── ConfigurationError          a setting, an option or a case declaration is wrong
    ├── UnknownCase                 no case of that name is declared here
    ├── UnknownSignal               the case has no signal of that name
    ├── InvalidPayload              a value is not JSON, or is over the size limit
    ├── DuplicateTest               a test of that id is still open
    ├── TooManyTests                too many tests of the case are still open
    ├── RedisUnavailable            Redis did not answer
    ├── RedisTooOld                 Redis answered, but is older than 6.2
    ├── BrokerUnavailable           the Celery broker did not take a message
    ├── SuiteFailed                 the suite of a case is failing
    │   ├── ServiceDown             a URL the case needs does not answer
    │   └── SuiteStalled            no test arrived in time
    ├── LiveCheckTestSkipped        verdict SKIP
    ├── LiveCheckTestFailed         verdict FAIL
    ├── LiveCheckTestRaised         verdict ERROR
    └── LiveCheckTestTimeout        verdict TIMEOUT
"""


class LiveCheckError(Exception):
    """Root of all LiveCheck errors."""


class ConfigurationError(LiveCheckError):
    """A setting, an option or a case declaration is wrong."""


class UnknownCase(LiveCheckError):
    """No case of that name is declared in this process."""


class UnknownSignal(LiveCheckError):
    """The case has no signal of that name."""


class InvalidPayload(LiveCheckError):
    """A value is not JSON, does not fit its type, or is over the size limit."""


class DuplicateTest(LiveCheckError):
    """A test of that id has been requested and has no verdict yet."""


class TooManyTests(LiveCheckError):
    """As many tests of the case as may be (``max_open``) have been requested and have no verdict yet."""


class RedisUnavailable(LiveCheckError):
    """Redis did not answer."""


class RedisTooOld(LiveCheckError):
    """Redis answered, but is older than LiveCheck needs."""


class BrokerUnavailable(LiveCheckError):
    """The Celery broker did not take a message."""


class SuiteFailed(LiveCheckError):
    """The suite of a case is failing (reference: ``SuiteFailed``).

    Attributes:
        accounted: whether the suite's state shows it already; each failure is to count once.
    """

    accounted = False


class ServiceDown(SuiteFailed):
    """A URL the case needs does not answer (reference: ``ServiceDown``)."""


class SuiteStalled(SuiteFailed):
    """No test arrived for ``warn_stalled_after`` seconds (reference: ``SuiteStalled``)."""


class LiveCheckTestSkipped(LiveCheckError):
    """The test was not run; raise it in ``run()`` to skip."""


class LiveCheckTestFailed(LiveCheckError):
    """A contract did not hold: an assertion failed, or a signal's value does not fit its type."""


class LiveCheckTestRaised(LiveCheckError):
    """``run()`` raised something other than an assertion."""


class LiveCheckTestTimeout(LiveCheckError):
    """A signal did not arrive in time; the message names it."""
