"""Trigger executions of a case: non-blocking from a request, or synchronously."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import random
from types import TracebackType
from typing import Any, Final

from celery import Signature
from celery.result import AsyncResult
from celery.utils.time import maybe_make_aware

from livecheck_celery.blocks import Block, mark_in_force
from livecheck_celery.cases.arguments import build, build_checked, check_size, split_id
from livecheck_celery.cases.protocols import DeclaredCase
from livecheck_celery.cases.serialization import as_json
from livecheck_celery.context import collect
from livecheck_celery.delivery.items import RequestedTest
from livecheck_celery.delivery.message_options import prepare
from livecheck_celery.delivery.outbox import PAYLOAD
from livecheck_celery.delivery.publisher import EXECUTE, addressed
from livecheck_celery.errors import BrokerUnavailable, InvalidPayload
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.deferral import follow_frameworks
from livecheck_celery.utils.durations import seconds
from livecheck_celery.utils.eager import EagerSetting
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

_FAILED: Final = "case %s: maybe_trigger() failed; continuing without a test"


class BaseTrigger:
    """``case.trigger`` of either face: ``delay``, ``apply_async``, ``s``, ``si`` as of a Celery task.

    The arguments are the test's id and those of ``run()``, which receives them with the types of its annotations, else
    as JSON types.
    """

    def __init__(self, case: DeclaredCase) -> None:
        self._case = case

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Trigger an execution, as Celery's ``delay``; errors as for `apply_async`."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | timedelta | datetime | str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Trigger an execution, with Celery's options.

        Args:
            args: the test's id, and positional arguments of ``run()``.
            kwargs: keyword arguments of ``run()``.
            countdown: seconds until it runs.
            eta: time at which it runs, instead of ``countdown``.
            expires: seconds from now, or a time, after which it is skipped; at most ``test_expires`` after its start.
            options: other options of Celery's ``apply_async``: ``queue``, ``priority``, ``link`` … They are stored with
                the test, for messages that are sent again. Those about the connection, the serializer and the routes
                are ignored, since LiveCheck has its own.

        Returns:
            The result; its value is the name of the verdict, if the worker has a result backend.

        Raises:
            ConfigurationError: an option is unknown or wrong; nothing is recorded.
            DuplicateTest, TooManyTests, InvalidPayload, RedisUnavailable, BrokerUnavailable: as for a call of
                ``trigger``.
        """
        wait = max(0.0, countdown or (self._seconds_until(eta) if eta else 0.0))
        lifetime = self._case.test_expires.total_seconds()
        if expires is not None:
            given = self._seconds_until(expires) if isinstance(expires, datetime) else float(seconds(expires))
            lifetime = max(0.0, min(lifetime, given - wait))
        livecheck = self._case.app
        add_to_parent = options.pop("add_to_parent", True)
        test = build(self._case, *split_id(args or (), kwargs or {}), expires_in=wait + lifetime)
        prepared = prepare(livecheck.app, options, owner=test.ident, limit=livecheck.settings.max_payload)
        test = self._record(replace(test, message_options=prepared), lifetime, delay=wait)
        result = self._publish(test, countdown=wait or None)
        parent: Any = livecheck.app.current_worker_task
        if parent and add_to_parent:
            parent.add_trail(result)
        return result

    def record_and_publish(self, test_id: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TestExecution:
        """Trigger an execution, to run as soon as possible; errors as for a call of ``trigger``."""
        test = build(self._case, test_id, args, kwargs)
        test = self._record(test, self._case.test_expires.total_seconds())
        self._publish(test)
        return test

    def _publish(self, test: TestExecution, **options: Any) -> AsyncResult[Any]:
        try:
            return self._case.app.runtime.publisher.execute(test, **options)
        except BrokerUnavailable as exc:
            said = str(exc) if str(exc).endswith("?") else f"{exc}."
            error = BrokerUnavailable(
                f"{said} The test {test.ident} is recorded: recovery sends it when the broker accepts messages, "
                "so do not trigger it again"
            )
            error.test = test
            raise error from exc

    def s(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """Return a Celery signature, for chains, groups and links; the previous result precedes ``args``."""
        return self._signature(args, kwargs, immutable=False)

    def si(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """Return an immutable Celery signature: results of a chain are not added to its arguments."""
        return self._signature(args, kwargs, immutable=True)

    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool) -> Signature[Any]:
        # The case's name is a keyword argument, since a chain inserts its result before the positional ones.
        livecheck = self._case.app
        return livecheck.app.signature(
            EXECUTE,
            args=tuple(as_json(args, livecheck.settings.max_payload)),
            kwargs={
                **as_json(kwargs, livecheck.settings.max_payload),
                **addressed(self._case.name, livecheck.settings.prefix),
            },
            options={"queue": livecheck.settings.queue},
            immutable=immutable,
        )

    def _seconds_until(self, time: datetime) -> float:
        """Return the seconds until ``time``; a time without a zone is in the app's time zone, as in Celery."""
        return (maybe_make_aware(time, self._case.app.app.timezone) - datetime.now(UTC)).total_seconds()

    def _record(self, test: TestExecution, expires_in: float, delay: float = 0.0) -> TestExecution:
        livecheck = self._case.app
        check_size(test, livecheck.settings.max_payload)
        collect(test)
        return livecheck.runtime.request_store.executions.record(
            test, expires_in=expires_in, delay=delay, max_rate=self._case.max_rate
        )


class Trigger(BaseTrigger):
    """``case.trigger``: trigger an execution synchronously, regardless of the probability.

    Call it, or use it like a Celery task: ``delay``, ``apply_async``, ``s``, ``si``. The arguments are the test's id
    and those of ``run()``, which receives them with the types of its annotations, else as JSON types.
    """

    def __call__(self, id: object = None, *args: Any, **kwargs: Any) -> TestExecution:  # noqa: A002 - reference's
        """Trigger an execution, to run as soon as possible.

        Args:
            id: id of the execution, and key of its signals; other values than text are converted by ``str()``. A new
                UUID by default, and for an empty id.
            args: positional arguments of ``run()``.
            kwargs: keyword arguments of ``run()``.

        Raises:
            DuplicateTest: an execution of that id has no verdict yet.
            TooManyTests: ``max_open`` or ``max_open_bytes`` is reached by executions of the case without a verdict, or
                ``max_rate`` is.
            InvalidPayload: the arguments are not JSON, or are over ``max_payload`` bytes.
            RedisUnavailable: Redis did not answer within a second; whether the test is recorded is unknown.
            BrokerUnavailable: the broker did not answer within a second. The test is recorded, and runs when the
                broker accepts messages; it is the attribute ``test`` of the error.
        """
        return self.record_and_publish(id, args, kwargs)


def make_maybe_trigger(case: DeclaredCase) -> Callable[..., MaybeTrigger]:
    """Return ``case.maybe_trigger``, which triggers a test with the case's ``probability``.

    The arguments are those of `Trigger`. The call returns a context manager for ``with`` or ``async with`` around the
    work under test, which yields the TestExecution, the current test inside the block, or None. Neither the call nor
    the context manager blocks or raises.
    """
    is_eager = EagerSetting().of

    def maybe_trigger(id: object = None, *args: Any, **kwargs: Any) -> MaybeTrigger:  # noqa: A002 - reference's
        try:
            livecheck = case.app
            outbox = livecheck.runtime.outbox
            if not outbox.running and livecheck.settings.enabled:
                outbox.start()  # it reads the overrides, which the next lines use
            if not case.active:
                return _UNTESTED
            if random() >= case.probability:  # noqa: S311 - not for secrets
                # Fake requests for this case are always tested; probability is for real ones.
                mark = mark_in_force()
                if mark is None or mark.case_name != case.name:
                    return _UNTESTED
            if not livecheck.settings.enabled or is_eager(livecheck.app):
                return _UNTESTED  # eagerly, a test would end before the block that sends its signals
        except Exception as exc:  # noqa: BLE001 - logged by the guard
            case.app.guard.failed(exc, case.name, _FAILED, case.name)
            return _UNTESTED
        return MaybeTrigger(case, id, args, kwargs)

    return maybe_trigger


class MaybeTrigger:
    """The context manager of ``case.maybe_trigger(...)``; yields a test, or None, and neither blocks nor raises.

    It can be left in another context, thread or coroutine than the one in which it was entered.
    """

    __slots__ = ("_arguments", "_case", "_entered")

    def __init__(self, case: DeclaredCase, test_id: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._case = case
        self._arguments = (test_id, args, kwargs)
        self._entered: list[Block] = []

    def __enter__(self) -> TestExecution | None:
        try:
            try:
                return self._enter()
            except Exception as exc:  # noqa: BLE001 - logged by the guard
                self._failed(exc)
        except BaseException:  # of a signal handler; the block is then not left by its caller
            self._leave()
            raise
        return None

    def _failed(self, error: Exception) -> None:
        livecheck, name = self._case.app, self._case.name
        with livecheck.guard(name, _FAILED, name):
            if not isinstance(error, InvalidPayload):
                raise error
            livecheck.runtime.outbox.drop(1, PAYLOAD, str(error))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave()
        except BaseException:  # of a signal handler
            self._leave()
            raise

    async def __aenter__(self) -> TestExecution | None:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _leave(self) -> None:
        if not self._entered:
            return
        try:
            self._entered[-1].__exit__()
            self._entered.pop()
        except Exception as exc:  # noqa: BLE001 - logged by the guard
            self._case.app.guard.failed(exc, f"{self._case.name} exit", _FAILED, self._case.name)

    def _enter(self) -> TestExecution | None:
        case = self._case
        livecheck = case.app
        test, size = build_checked(case, *self._arguments)
        item = RequestedTest(test, case.test_expires.total_seconds(), size, case.max_rate)
        if not livecheck.runtime.outbox.put(item):
            return None
        collect(test, lingers=True)
        follow_frameworks()
        block = Block((test,))
        self._entered.append(block)
        block.__enter__()
        return test


class _Untested(MaybeTrigger):
    """The context manager of all requests that are not tested; it has no state."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    # Not those of the base class, which call the methods above.

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_UNTESTED: Final = _Untested()
