"""Signals that go through Redis: what `Signal` of both faces have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Generator, Sequence
from datetime import timedelta
from typing import Any, Final, Self, cast

from pydantic import PydanticUserError

from livecheck_celery.blocks import tests_in_force
from livecheck_celery.cases.base_signal import UNDECORATED, BaseSignal, T
from livecheck_celery.cases.protocols import DeclaredCase
from livecheck_celery.config import NOT_GIVEN
from livecheck_celery.delivery.items import SentSignal
from livecheck_celery.delivery.outbox import PAYLOAD
from livecheck_celery.errors import (
    ConfigurationError,
    InvalidPayload,
    LiveCheckTestFailed,
    LiveCheckTestTimeout,
)
from livecheck_celery.execution.drivers import Driver
from livecheck_celery.execution.runner import BaseRunner, current_execution
from livecheck_celery.execution.waiting import Wait
from livecheck_celery.guard import GUARD
from livecheck_celery.models import MAX_ID, NULL, JSONText, SignalEvent, TestExecution, id_of
from livecheck_celery.propagation import django
from livecheck_celery.propagation.routes import check_route
from livecheck_celery.propagation.sources import DJANGO, REQUEST, SPAN, TASK, Source
from livecheck_celery.utils.durations import seconds
from livecheck_celery.utils.sanitize import get_logger, message_of

logger = get_logger(__name__)


class Sent:
    """What `send` returns: awaiting it does nothing, so that ``send()`` and ``await send()`` are the same."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_SENT: Final = Sent()


class RedisSignal(BaseSignal[T]):
    """A signal that any process can send, and that a test on a LiveCheck worker waits for.

    ``from_task`` and the other ``from_`` constructors declare an automatic signal, which is sent when an operation
    finishes as part of a test of the case, in any service that propagates tests.

    ``Signal(times=1)`` fails a test at which the signal arrives more than once; the default is any number of times.
    """

    @classmethod
    def from_task(cls, name: str, *, times: int | None = None) -> Self:
        """Declare a signal that is sent with the result of the Celery task ``name`` when the task succeeds.

        When the task fails and is not retried, `wait` fails at once; the error names the exception. ``times`` is as for
        `Signal`.
        """
        return cls(source=Source(TASK, name), times=times)

    @classmethod
    def from_request(cls, method: str, path: str, *, times: int | None = None) -> Self:
        """Declare a signal that is sent when the response to a request of ``method`` and ``path`` has been sent.

        The value has ``method``, ``path`` and ``status``. After a status of 500 or more, or an exception, `wait` fails.
        ``path`` can have placeholders, as in ``/order/{id}/``, each in one segment. ``times`` is as for `Signal`.

        Raises:
            ConfigurationError: no request can match the method or the path.
        """
        check_route("from_request()", method, path)
        return cls(source=Source(REQUEST, f"{method.upper()} {path}"), times=times)

    @classmethod
    def from_django(
        cls, signal: Any, *, sender: Any = None, fields: Sequence[str] = (), times: int | None = None
    ) -> Self:
        """Declare a signal that is sent when a Django signal, such as ``post_save``, is sent.

        In a transaction, it is sent when the transaction is committed, and never if that is rolled back. The value has
        the primary key of the instance or, without an instance, the arguments of the Django signal. The values of
        secrets, such as ``password``, are masked.

        Args:
            signal: the Django signal, or its import path.
            sender: the sending model, or its label ``"app.Model"``; by default, any sender.
            fields: names of the fields to send in place of the primary key; without an instance, of the arguments.
            times: as for `Signal`.

        Raises:
            ConfigurationError: ``signal`` is not an attribute of a module, so other processes cannot import it; or
                ``sender`` or ``fields`` are not names.
        """
        return cls(source=Source(DJANGO, django.source_name(signal, sender, fields)), times=times)

    @classmethod
    def from_span(cls, name: str, *, times: int | None = None) -> Self:
        """Declare a signal that is sent with the attributes of the OpenTelemetry span ``name`` when the span ends.

        If the status of the span is an error, `wait` fails at once. ``times`` is as for `Signal`.
        """
        return cls(source=Source(SPAN, name), times=times)

    def check_declaration(self) -> None:
        """Check that values of the signal's type can be sent as JSON, and that ``times`` is a number.

        Raises:
            ConfigurationError: one of them is wrong.
        """
        where = f"case {self.case.name}: signal {self.name}"
        if self.times is not None and (type(self.times) is not int or self.times < 1):
            raise ConfigurationError(f"{where}: times={self.times!r} must be a number from 1, or None")
        try:
            _ = self.adapter
        except (PydanticUserError, TypeError, NameError) as exc:
            reason = str(exc).partition("\n")[0]
            raise ConfigurationError(f"{where}: {self.value_type!r} cannot be sent as JSON: {reason}") from None

    def send(self, value: T | None = None, *, key: object = NOT_GIVEN, force: bool = False) -> Awaitable[None]:
        """Send the signal to the current test of its case, else to the current test; outside a test, do nothing.

        Returns at once; the result can be awaited, which does nothing. A signal that cannot be delivered is dropped and
        counted by the outbox.

        Args:
            value: the value that `wait` returns.
            key: id of the receiving test, as text or a value whose ``str()`` is the id; by default, and if it is None
                or empty, the current one's.
            force: also send outside a test; requires ``key``. One that is None or empty there is logged, not raised.

        Raises:
            ConfigurationError: forced outside a test, without the argument ``key`` or without a case.
        """
        tests = tests_in_force()
        if self._case is None and not (force and not tests):  # not raised, since the caller may be a request
            if GUARD.throttle(f"undecorated {self.name}"):
                logger.error("signal %s: %s; dropping its values", self.name, UNDECORATED)
        elif tests or force:
            self._send(value, tests, key)
        return _SENT

    def _send(self, value: T | None, tests: Sequence[TestExecution], key: object) -> None:
        if not tests and key is NOT_GIVEN:
            raise self._keyless()
        case = self.case
        try:
            if case.app.settings.enabled:
                test = _receiver(tests, case.name)
                given = None if key is NOT_GIVEN else id_of(key)
                if given is None and test is None:
                    raise self._keyless()  # noqa: TRY301 - logged like other failures
                self._put(case, value, test, given or cast("TestExecution", test).id)
        except Exception as exc:  # noqa: BLE001 - logged by the guard
            kind = f"{case.name} {self.name}"
            case.app.guard.failed(exc, kind, "case %s: failed to send signal %s; continuing", case.name, self.name)

    def _keyless(self) -> ConfigurationError:
        return ConfigurationError(
            f"case {self.case.name}: signal {self.name}: outside a test, send(force=True) requires key="
        )

    def _put(self, case: DeclaredCase, value: T | None, test: TestExecution | None, key: str) -> None:
        outbox = case.app.runtime.outbox
        if len(key) > MAX_ID or not (key.isascii() or _is_encodable(key)):
            why = f"case {case.name}: signal {self.name}: the key {key!a:.40} is not text of up to {MAX_ID} characters"
            outbox.drop(1, PAYLOAD, why)
        else:
            # Redis knows the lifetime of a test; a signal for another key is stored as if the key were a test.
            receiver = test if test is not None and test.id == key and test.case_name == case.name else None
            ttl = case.test_expires.total_seconds() if receiver is None else 0.0
            text, error = self._encoded(value)
            outbox.put(SentSignal(self.name, case.name, key, text, error, receiver, ttl))

    def _resolve(self, key: object, event: SignalEvent) -> None:
        case = self.case
        value, error = event.value, event.error
        if not isinstance(value, JSONText):
            value = self._checked(value)
        event = SignalEvent(self.name, case.name, id_of(key) or "", value, error)
        case.app.runtime.store.signals.send(event, ttl=case.test_expires.total_seconds())

    def _checked(self, value: Any) -> JSONText:
        """Return ``value`` as JSON.

        Raises:
            InvalidPayload: it has no JSON form, or is not of the signal's type.
        """
        text = self.encode(value)
        try:
            self.decode(SignalEvent(self.name, self.case.name, "", text))
        except LiveCheckTestFailed as exc:
            raise InvalidPayload(str(exc)) from exc.__cause__
        return text

    def _encoded(self, value: T | None) -> tuple[JSONText, str | None]:
        """Return the value as JSON, or an error in its place, so that the test fails at once and not by a timeout."""
        try:
            return self.encode(value), None  # type: ignore[arg-type] # T may be Optional
        except InvalidPayload as exc:
            case = self.case
            if case.app.guard.throttle(f"{case.name} {self.name} value"):
                logger.warning("case %s: %s", case.name, exc)
            return NULL, message_of(exc)

    def _runner(self) -> BaseRunner:
        runner = current_execution()
        if runner is None or not runner.is_running:
            raise RuntimeError(f"{self.described}: wait() works only inside run() of a case that is being executed")
        return runner

    async def _wait(self, driver: Driver, key: object, timeout: float | timedelta | str | None) -> T:  # noqa: ASYNC109 - the reference's
        """Wait for the signal, by ``driver``, and return its value; see `Signal.wait`."""
        runner, name = self._runner(), self.case.name
        limit = None if timeout is None else self._timeout(timeout)
        await runner.signal_awaited(driver, self, limit)
        if runner.is_open(name, key):
            future = runner.expect(name, self.name, key)
        else:  # asks Redis
            future = await driver.blocking(runner.expect, name, self.name, key)
        try:
            remaining = max(0.0, runner.deadline - time.monotonic())
            wait = runner.wait(future, remaining if limit is None else min(limit, remaining))
            for awaited, left in wait.steps():
                await driver.wait_for(awaited, left)
        finally:
            runner.forget(name, self.name, key, future)
        return await self._received(driver, runner, wait)

    def _timeout(self, timeout: float | timedelta | str) -> float:
        try:
            limit = float(seconds(timeout))
        except (TypeError, ValueError):
            limit = math.nan
        if not limit >= 0:
            raise ValueError(f"{self.described}: wait(): timeout {timeout!r:.60} is not a number of seconds, or '30s'")
        return limit

    @property
    def received_at(self) -> float:
        """Redis time at which the signal first arrived at the test being executed, in seconds since the epoch.

        Redis' clock is the same for all services, so times of two signals can be compared, up to the milliseconds that
        each took to Redis.

        Raises:
            LiveCheckTestFailed: the signal has not arrived.
            RuntimeError: read outside ``run()``.
        """
        event = self._arrived()
        if event is None or event.first_at is None:
            raise LiveCheckTestFailed(f"{self.described} has not arrived; wait for it before reading received_at")
        return event.first_at

    @property
    def arrivals(self) -> int:
        """Number of times the signal has arrived at the test being executed.

        Raises:
            RuntimeError: read outside ``run()``.
        """
        event = self._arrived()
        return 0 if event is None else event.arrivals

    def _arrived(self) -> SignalEvent | None:
        arrived = self._runner().arrived
        return next((event for event in arrived if event.signal_name == self.name), None)

    async def _received(self, driver: Driver, runner: BaseRunner, wait: Wait) -> T:
        """Return the value that has arrived in a wait that is over."""
        event = wait.result()
        if event is None:
            raise self._timed_out(runner, wait.limit)
        ended = time.monotonic()
        runner.received(self.name, ended - wait.started)
        await runner.signal_received(driver, self, wait.started, ended)
        self.check_times(event)
        return self.decode(event)

    def _timed_out(self, runner: BaseRunner, limit: float) -> LiveCheckTestTimeout:
        declared = runner.case.signals
        arrived = [
            event.label if event.signal_name in declared else f"{event.label} (not declared)"
            for event in runner.arrived
        ]
        seen = f"arrived so far: {', '.join(arrived)}" if arrived else "no signal has arrived"
        return LiveCheckTestTimeout(f"{self.described} did not arrive within {limit:g} s; {seen}")


def _receiver(tests: Sequence[TestExecution], case_name: str) -> TestExecution | None:
    """Return the innermost test of a case, else the innermost of all."""
    for test in tests:
        if test.case_name == case_name:
            return test
    return tests[0] if tests else None


def _is_encodable(text: str) -> bool:
    """Return whether ``text`` can be encoded as UTF-8; half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
