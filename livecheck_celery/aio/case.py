"""Cases of the asyncio face (reference: ``faust.livecheck.case``)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, cast

from livecheck_celery.aio import extras
from livecheck_celery.aio.runner import TestRunner
from livecheck_celery.aio.trigger import Trigger
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.cases.descriptors import PerCase
from livecheck_celery.delivery.publisher import EXECUTE
from livecheck_celery.errors import ServiceDown, SuiteFailed
from livecheck_celery.execution.drivers import BridgeDriver, Driver, LoopDriver
from livecheck_celery.execution.fair_share import Party
from livecheck_celery.execution.runner import BaseRunner, current_execution
from livecheck_celery.execution.supervision import entered, supervised
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport


class Case(BaseCase):
    """As `livecheck_celery.Case`; what the reference has as a coroutine is one here.

    ``run()``, ``make_fake_request()`` and the hooks are declared with ``async def``, and run on the event loop of the
    worker.
    """

    Runner: ClassVar[type[TestRunner]] = TestRunner
    face_runner: ClassVar[type[BaseRunner]] = TestRunner
    holds_slot: ClassVar[bool] = False

    trigger = PerCase(Trigger)

    async def run(self, *test_args: Any, **test_kwargs: Any) -> None:
        """Override this to define the test case."""
        raise NotImplementedError(f"case {self.name} has no run()")

    async def make_fake_request(self) -> None:
        """Override this to make a request every ``frequency`` seconds."""

    async def on_test_start(self, runner: TestRunner) -> None:
        """Override this to act when a test starts executing."""

    async def on_test_skipped(self, runner: TestRunner) -> None:
        """Override this to act when a test is skipped; ``runner.error`` has the reason."""

    async def on_test_failed(self, runner: TestRunner, exc: BaseException) -> None:
        """Override this to act when a contract of a test does not hold."""

    async def on_test_error(self, runner: TestRunner, exc: BaseException) -> None:
        """Override this to act when a test raises."""

    async def on_test_timeout(self, runner: TestRunner, exc: BaseException) -> None:
        """Override this to act when a signal does not arrive in time."""

    async def on_test_pass(self, runner: TestRunner) -> None:
        """Override this to act when a test passes."""

    async def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
        """Mark the suite as failed; override this to act on it.

        Sets ``status`` and ``last_fail``; posts a report if the status was INIT, PASS or SKIP, or the last failure of
        the suite is older than ``state_transition_delay``. LiveCheck does this itself before it calls the hook.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        await self._account_suite_failure(self._on_loop, exc, new_state)

    async def post_report(self, report: TestReport) -> None:
        """Give a report to `LiveCheck.post_report`; override this to forward the reports of the case.

        LiveCheck stores the report in Redis before it calls the hook.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        await self._post_report(self._on_loop, report)

    async def execute(self, test: TestExecution) -> TestRunner:
        """Execute ``test`` on the running event loop, and return the runner, which is the current execution meanwhile.

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
            await cast("TestRunner", runner).execute()
        return cast("TestRunner", runner)

    def execute_here(self, test: TestExecution) -> BaseRunner:
        """Execute ``test`` on the event loop of this process, by `execute`; wait for it, and return the runner."""
        runner: BaseRunner = self.app.runtime.event_loop.finish(supervised(self._on_loop, self, test), test.ident)
        return runner

    @property
    def current_execution(self) -> TestRunner | None:
        """The runner that is executing a case here, if any."""
        return cast("TestRunner | None", current_execution())

    def execute_on_worker(self, test: TestExecution, done: Callable[[BaseRunner], object]) -> None:
        """Begin ``test`` on the event loop of this process; call ``done`` in a thread when it has ended."""
        self.app.runtime.async_tests.start(*self._on_event_loop(test), done)

    def begin_on_worker(self, test: TestExecution, done: Callable[[BaseRunner], object]) -> bool:
        """Begin ``test`` as `execute_on_worker`, if there is a place for it; return whether it has begun."""
        return self.app.runtime.async_tests.try_start(*self._on_event_loop(test), done)

    def _on_event_loop(self, test: TestExecution) -> tuple[Party, Callable[[], Coroutine[Any, Any, BaseRunner]], str]:
        party = Party(EXECUTE, self.name, test.synthetic)
        return party, partial(supervised, self._on_loop, self, test), test.ident

    @property
    def thread_driver(self) -> Driver:
        """The driver of code in a plain thread, which awaits coroutines on the event loop of this process."""
        return BridgeDriver(self.app.runtime.event_loop)

    async def resolve_signal(self, key: object, event: SignalEvent) -> None:
        """Resolve the signal named by ``event`` for the test ``key``.

        Raises:
            InvalidPayload: the value of the event has no JSON form, or is not of the signal's type.
            UnknownSignal: the case does not declare the signal.
            RedisUnavailable: Redis did not answer.
        """
        await self._on_loop.result_of("resolve()", self._signal_of(event).resolve(key, event))

    async def get_url(self, url: str, **kwargs: Any) -> bytes | None:
        """Make a GET request; see `url_request`."""
        return await self.url_request("GET", url, **kwargs)

    async def post_url(self, url: str, **kwargs: Any) -> bytes | None:
        """Make a POST request; see `url_request`."""
        return await self.url_request("POST", url, **kwargs)

    async def url_request(self, method: str, url: str, **kwargs: Any) -> bytes | None:
        """Make an HTTP request, and return the body of the response, or None if all attempts fail.

        Propagates the current test, and the mark of a fake request, to the hosts in ``http_hosts``. Retries as
        `url_settings` says. If all attempts fail, the suite fails with `ServiceDown`.

        Args:
            method: HTTP method.
            url: absolute URL.
            kwargs: arguments of ``httpx.AsyncClient.request``, without ``timeout``.

        Raises:
            ConfigurationError: httpx is not installed.
        """
        http = extras.http()
        try:
            async with http.client(self.app.gate) as client:
                body: bytes = await http.fetch(method, url, settings=self.url_settings, client=client, **kwargs)
        except ServiceDown as exc:
            await self.fail_suite_by(self._on_loop, exc)
            return None
        await self._on_loop.blocking(self._service_answered)
        return body

    @property
    def _on_loop(self) -> Driver:
        return LoopDriver(self.app.runtime.threads)
