"""Signals: what a service tells a test about its part (reference: ``livecheck.signals``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from livecheck_celery.cases.serialization import adapter_of
from livecheck_celery.config import explain, seconds
from livecheck_celery.context import current_execution, current_test
from livecheck_celery.delivery.items import Signalled
from livecheck_celery.delivery.outbox import PAYLOAD
from livecheck_celery.errors import (
    ConfigurationError,
    InvalidPayload,
    LiveCheckTestFailed,
    LiveCheckTestTimeout,
)
from livecheck_celery.models import MAX_ID, SignalEvent, TestExecution
from livecheck_celery.propagation import django
from livecheck_celery.propagation.sources import DJANGO, REQUEST, SPAN, TASK, Source
from livecheck_celery.utils.lazy import lazy
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case
    from livecheck_celery.execution.runner import TestRunner

logger = get_logger(__name__)
_throttle = Throttle()

T = TypeVar("T")


class BaseSignal(Generic[T]):
    """A signal's identity: its name, its case, its place among the case's signals, and the type of its value.

    Attributes:
        name: the attribute it is declared as.
        case: the case it belongs to.
        index: its place among the case's signals, from 1.
        source: what resolves it by itself, if anything does.
    """

    def __init__(
        self,
        name: str = "",
        case: Case | None = None,
        index: int = -1,
        value_type: Any = None,
        source: Source | None = None,
    ) -> None:
        self.name = name
        self.index = index
        self.source = source
        self._case = case
        self._value_type = value_type

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index}: {self.name}>"

    @property
    def case(self) -> Case:
        """The case it belongs to.

        Raises:
            ConfigurationError: the class that declares it was not made a case.
        """
        if self._case is None:
            raise ConfigurationError(f"signal {self.name}: its class is no case; decorate it with @livecheck.case()")
        return self._case

    @property
    def value_type(self) -> Any:
        """The ``T`` of ``Signal[T]``; Any when none is given."""
        if self._value_type is None:
            # Signal[T]() notes its T only after __init__ has run.
            args = get_args(getattr(self, "__orig_class__", None))
            self._value_type = args[0] if args else Any
        return self._value_type

    def annotate(self, value_type: Any) -> None:
        """Take the ``T`` of the annotation, unless it has one of its own."""
        if self.value_type is Any:
            self._value_type = value_type

    def clone(self, *, case: Case, index: int) -> Self:
        """The same signal on ``case``.

        Raises:
            ConfigurationError: values of its type cannot be carried as JSON.
        """
        signal = type(self)(self.name, case, index, self.value_type, self.source)
        try:
            _ = signal.adapter
        except (PydanticUserError, TypeError, NameError) as exc:
            reason = str(exc).partition("\n")[0]
            raise ConfigurationError(
                f"case {case.name}: signal {self.name}: {self.value_type!r} cannot be carried as JSON: {reason}"
            ) from None
        return signal

    @lazy
    def adapter(self) -> TypeAdapter[T]:
        """Turns values into JSON and back."""
        return adapter_of(self.value_type)

    def encode(self, value: T) -> str:
        """``value`` as JSON.

        Raises:
            InvalidPayload: it is no JSON, or over ``max_payload`` bytes.
        """
        try:
            text = self.adapter.serializer.to_json(value, warnings=False)
        except Exception as exc:
            raise InvalidPayload(f"{self._described}: value cannot be sent as JSON: {exc}") from exc
        limit = self.case.app.settings.max_payload
        if len(text) > limit:
            raise InvalidPayload(
                f"{self._described}: value is {len(text)} bytes, over the limit of {limit} (livecheck_max_payload)"
            )
        return text.decode()

    def decode(self, event: SignalEvent) -> T:
        """The value ``event`` carries, as ``T``.

        Raises:
            LiveCheckTestFailed: the sender could not carry the value, or it is no ``T``.
        """
        if event.error is not None:
            raise LiveCheckTestFailed(event.error)
        try:
            return self.adapter.validate_json(event.value)
        except ValidationError as exc:
            expected = getattr(self.value_type, "__name__", str(self.value_type))
            raise LiveCheckTestFailed(f"{self._described}: value is no {expected}: {explain(exc)}") from exc

    @property
    def _described(self) -> str:
        return f"signal {self.name} ({self.index} of {len(self.case.signals)})"


class Signal(BaseSignal[T]):
    """A signal that is sent through Redis, by any process, and waited for on a LiveCheck worker.

    ``from_task`` and its like declare one that nobody needs to send: it is resolved by what happens anyway, in any
    service that carries tests, in a test of the case.
    """

    @classmethod
    def from_task(cls, name: str) -> Signal[Any]:
        """A signal that is sent with the return value when the Celery task ``name`` succeeds.

        When it fails for good, waiting for the signal fails at once, naming the exception.
        """
        return cls(source=Source(TASK, name))

    @classmethod
    def from_request(cls, method: str, path: str) -> Signal[Any]:
        """A signal that is sent when the response to such a request has been sent.

        Its value has ``method``, ``path`` and ``status``; a status of 500 or more, or an exception, fails the wait.
        ``path`` may have placeholders, as in ``/order/{id}/``, each for one part of it.
        """
        return cls(source=Source(REQUEST, f"{method.upper()} {path}"))

    @classmethod
    def from_django(cls, signal: Any, *, sender: Any = None) -> Signal[Any]:
        """A signal that is sent when a Django signal is, such as ``post_save``.

        Its value has the fields of the instance, where there is one.

        Args:
            signal: the Django signal, or the path to import it by.
            sender: the model that must have sent it, or ``"app.Model"``; by default, any.

        Raises:
            ConfigurationError: no module has ``signal``, so that no other process could find it.
        """
        return cls(source=Source(DJANGO, django.source_name(signal, sender)))

    @classmethod
    def from_span(cls, name: str) -> Signal[Any]:
        """A signal that is sent with the attributes of the OpenTelemetry span ``name`` when that ends.

        When the span's status is an error, waiting for the signal fails at once.
        """
        return cls(source=Source(SPAN, name))

    def send(self, value: T | None = None, *, key: str | None = None, force: bool = False) -> None:
        """Tell the current test that this part is done; outside a test, do nothing.

        Returns at once; a signal that cannot be delivered is dropped and counted, as the outbox says.

        Args:
            value: what the test gets from `wait`.
            key: id of the test it is for; by default the current one's.
            force: send outside a test too; needs ``key``.

        Raises:
            ConfigurationError: forced outside a test, without a key.
        """
        test = current_test()
        if test is None:
            if not force:
                return
            if key is None:
                raise ConfigurationError(
                    f"case {self.case.name}: signal {self.name}: outside a test, send(force=True) needs key="
                )
        case = self.case
        try:
            if case.app.settings.enabled:
                self._put(value, test, str(key) if test is None or key is not None else test.id)
        except Exception:
            if _throttle(self.name):
                logger.exception("case %s: signal %s could not be sent; the request goes on", case.name, self.name)

    def _put(self, value: T | None, test: TestExecution | None, key: str) -> None:
        case = self.case
        if len(key) > MAX_ID or _is_broken(key):
            why = f"case {case.name}: signal {self.name}: the key {key!a:.40} is no text of up to {MAX_ID} characters"
            case.app.outbox.drop(1, PAYLOAD, why)
        else:
            # For a test, Redis knows how long; what is sent to something else is kept as if that were one.
            to_itself = test is not None and (test.case_name, test.id) == (case.name, key)
            ttl = 0.0 if to_itself else case.test_expires.total_seconds()
            case.app.outbox.put(Signalled(self._event(value, key), ttl))

    def resolve(self, key: str, event: SignalEvent) -> None:
        """Store ``event`` for the test ``key``, and wake whoever waits for it in any process.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        case = self.case
        event = SignalEvent(self.name, case.name, key, event.value, event.error)
        case.app.store.signals.send(event, ttl=case.test_expires.total_seconds())

    def wait(self, *, key: str | None = None, timeout: float | timedelta | str | None = None) -> T:
        """Wait for the signal; its value.

        Args:
            key: id of the test it is sent to; by default the one being executed. What was sent to another test can be
                waited for until two minutes after that one's verdict.
            timeout: seconds, or a duration such as ``"30s"``; at most, and by default, until the test expires.

        Raises:
            LiveCheckTestTimeout: it did not arrive in time.
            LiveCheckTestFailed: its value is no ``T``.
            RuntimeError: outside ``run()``, or in an ``async def run()``, which awaits `wait_async`.
        """
        runner = self._runner()
        if runner.is_async:
            raise RuntimeError(
                f"{self._described}: wait() would block every async test; use: await ...{self.name}.wait_async()"
            )
        started, future, limit = self._expect(runner, key, timeout)
        try:
            event = future.result(limit)
        except TimeoutError:
            raise self._late(runner, limit) from None
        finally:
            runner.forget(self, key, future)
        return self._arrived(runner, event, started)

    async def wait_async(
        self,
        *,
        key: str | None = None,
        timeout: float | timedelta | str | None = None,  # noqa: ASYNC109 - as wait() has it
    ) -> T:
        """`wait`, for an ``async def run()``; same arguments, value and errors."""
        runner = self._runner()
        started, future, limit = self._expect(runner, key, timeout)
        try:
            event = await asyncio.wait_for(asyncio.wrap_future(future), limit)
        except TimeoutError:
            raise self._late(runner, limit) from None
        finally:
            runner.forget(self, key, future)
        return self._arrived(runner, event, started)

    def _event(self, value: T | None, key: str) -> SignalEvent:
        try:
            return SignalEvent(self.name, self.case.name, key, self.encode(value))  # type: ignore[arg-type]
        except InvalidPayload as exc:
            # The test must not wait in vain: it is told why the value did not come.
            if _throttle(f"{self.case.name} {self.name}"):
                logger.warning("case %s: %s", self.case.name, exc)
            return SignalEvent(self.name, self.case.name, key, error=str(exc))

    def _runner(self) -> TestRunner:
        runner = current_execution()
        if runner is None:
            raise RuntimeError(f"{self._described}: wait() works only inside run() of a case that is being executed")
        return runner

    def _expect(
        self, runner: TestRunner, key: str | None, timeout: float | timedelta | str | None
    ) -> tuple[float, Future[SignalEvent], float]:
        started = time.monotonic()
        remaining = max(0.0, runner.deadline - started)
        limit = remaining if timeout is None else min(float(seconds(timeout)), remaining)
        return started, runner.expect(self, key), limit

    def _arrived(self, runner: TestRunner, event: SignalEvent, started: float) -> T:
        runner.signal_latency[self.name] = time.monotonic() - started
        return self.decode(event)

    def _late(self, runner: TestRunner, limit: float) -> LiveCheckTestTimeout:
        arrived: Mapping[str, Any] = runner.signal_since_trigger
        seen = f"arrived so far: {', '.join(arrived)}" if arrived else "no signal has arrived"
        return LiveCheckTestTimeout(f"{self._described} did not arrive within {limit:g} s; {seen}")


def _is_broken(text: str) -> bool:
    """Whether ``text`` has half a surrogate pair in it, which neither Redis nor JSON can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
