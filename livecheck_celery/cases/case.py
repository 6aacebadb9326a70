"""Cases: declared by users (reference: ``faust.livecheck.case``)."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.cases.descriptors import PerCase
from livecheck_celery.cases.runner import TestRunner
from livecheck_celery.cases.trigger import Trigger
from livecheck_celery.errors import ServiceDown, SuiteFailed
from livecheck_celery.execution.drivers import BridgeDriver, Driver, ThreadDriver, drive
from livecheck_celery.execution.runner import BaseRunner, current_execution
from livecheck_celery.execution.supervision import entered, supervised
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport


class Case(BaseCase):
    """A test case. Every attribute has the reference's meaning and default.

    All durations are seconds, and all times are Redis server time in seconds since the epoch. The attributes of the
    suite (``status``, histories, counters) are read from Redis at each access, and are the same in every process.

    `LiveCheck.case` creates the instance. The parameters are the reference's; ``kwargs`` are options of `CaseOptions`
    that the reference does not have. None means "not given", except for the options that can be None.

    Raises:
        ConfigurationError: an option or a signal is wrong.
    """

    Runner: ClassVar[type[TestRunner]] = TestRunner
    face_runner: ClassVar[type[BaseRunner]] = TestRunner

    trigger = PerCase(Trigger)

    def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> Any:
        """Mark the suite as failed; override this to act on it.

        Sets ``status`` and ``last_fail``; posts a report if the status was INIT, PASS or SKIP, or the last failure of
        the suite is older than ``state_transition_delay``. LiveCheck does this itself before it calls the hook.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        drive(self._account_suite_failure(self.thread_driver, exc, new_state))

    def post_report(self, report: TestReport) -> Any:
        """Give a report to `LiveCheck.post_report`; override this to forward the reports of the case.

        LiveCheck stores the report in Redis before it calls the hook.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        drive(self._post_report(BridgeDriver(self.app.runtime.event_loop), report))

    def execute(self, test: TestExecution) -> TestRunner:
        """Execute ``test`` in this thread, and return the runner, which is the current execution meanwhile.

        An override of this method has the runner as `current_execution`, too. In the reference, the method returns
        None. On a worker, the verdict is all that counts: the exceptions of the verdict end here.

        Raises:
            LiveCheckTestSkipped: the verdict SKIP. This and the following are raised once the verdict is recorded, and
                the hooks were called.
            LiveCheckTestFailed: the verdict FAIL; its ``__cause__`` is the `AssertionError`, if there was one.
            LiveCheckTestTimeout: the verdict TIMEOUT.
            LiveCheckTestRaised: the verdict ERROR; its ``__cause__`` is what ``run()`` has raised.
            RedisUnavailable: Redis did not answer for a minute; there is no verdict.
        """
        with entered(self, test) as runner:
            cast("TestRunner", runner).execute()
        return cast("TestRunner", runner)

    def execute_here(self, test: TestExecution) -> BaseRunner:
        """Execute ``test`` in this thread, by `execute`, as a worker does: return the runner, whatever the verdict."""
        return drive(supervised(self.thread_driver, self, test))

    @property
    def current_execution(self) -> TestRunner | None:
        """The runner that is executing a case here, if any."""
        return cast("TestRunner | None", current_execution())

    @property
    def thread_driver(self) -> Driver:
        """The driver of code in a plain thread."""
        return ThreadDriver()

    def resolve_signal(self, key: object, event: SignalEvent) -> None:
        """Resolve the signal named by ``event`` for the test ``key``.

        Raises:
            InvalidPayload: the value of the event has no JSON form, or is not of the signal's type.
            UnknownSignal: the case does not declare the signal.
            RedisUnavailable: Redis did not answer.
        """
        self._signal_of(event).resolve(key, event)

    def get_url(self, url: str, **kwargs: Any) -> bytes | None:
        """Make a GET request; see `url_request`."""
        return self.url_request("GET", url, **kwargs)

    def post_url(self, url: str, **kwargs: Any) -> bytes | None:
        """Make a POST request; see `url_request`."""
        return self.url_request("POST", url, **kwargs)

    def url_request(self, method: str, url: str, **kwargs: Any) -> bytes | None:
        """Make an HTTP request, and return the body of the response, or None if all attempts fail.

        Propagates the current test, and the mark of a fake request, to the hosts in ``http_hosts``. Retries as
        `url_settings` says. If all attempts fail, the suite fails with `ServiceDown`.

        Args:
            method: HTTP method.
            url: absolute URL.
            kwargs: arguments of ``requests.Session.request``.
        """
        # Imported when first needed: importing requests takes long, and most processes declare cases and run none.
        from livecheck_celery.cases import http  # noqa: PLC0415 - see above

        try:
            with self.app.session() as session:
                body = http.fetch(method, url, settings=self.url_settings, session=session, **kwargs)
        except ServiceDown as exc:
            self.fail_suite(exc)
            return None
        self._service_answered()
        return body
