"""Asks for executions of a case: from a request without ever being in its way, or inline by who wants to know."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Token
from datetime import UTC, datetime, timedelta
from random import getrandbits, random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from celery import Signature
from celery.result import AsyncResult
from celery.utils.time import maybe_make_aware
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from livecheck_celery.config import seconds
from livecheck_celery.context import current_test, current_test_var, synthetic_case_var, triggered_var
from livecheck_celery.delivery.items import Requested
from livecheck_celery.delivery.outbox import PAYLOAD
from livecheck_celery.delivery.publisher import CASE_KEYWORD, EXECUTE
from livecheck_celery.errors import InvalidPayload
from livecheck_celery.execution.spans import traceparent
from livecheck_celery.models import MAX_ID, TestExecution
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

if TYPE_CHECKING:
    from livecheck_celery.cases.case import Case

logger = get_logger(__name__)
_throttle = Throttle()
#: Characters that one may be in JSON.
_LONGEST_ESCAPE: Final = 6
_LARGE: Final = 2**63
_WENT_WRONG: Final = "case %s: maybe_trigger() went wrong; the request goes on"


class Trigger:
    """``case.trigger``: request an execution, always, and know at once whether that worked.

    Call it, or use it like a Celery task: ``delay``, ``apply_async``, ``s``, ``si``. Arguments are the test's id and
    those of ``run()``; they reach it as JSON.
    """

    def __init__(self, case: Case) -> None:
        self._case = case

    def __call__(self, id: str | None = None, *args: Any, **kwargs: Any) -> TestExecution:  # noqa: A002 - reference's
        """Request an execution, as soon as possible.

        Args:
            id: name of the execution, and the key of its signals; a new UUID by default.
            args: positional arguments of ``run()``.
            kwargs: keyword arguments of ``run()``.

        Raises:
            DuplicateTest: an execution of that id has no verdict yet.
            TooManyTests: ``max_open`` executions of the case have none.
            InvalidPayload: the arguments are not JSON, or are over ``max_payload`` bytes.
            RedisUnavailable, BrokerUnavailable: no answer; after a second at most.
        """
        test = build(self._case, id, args, kwargs)
        test = self._record(test, self._case.test_expires.total_seconds())
        self._case.app.publisher.execute(test)
        return test

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """`apply_async` with the arguments of the test only; same errors."""
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
        """Request an execution, with Celery's options.

        Args:
            args: the test's id, and positional arguments of ``run()``.
            kwargs: keyword arguments of ``run()``.
            countdown: seconds until it is to run.
            eta: when it is to run, instead of ``countdown``.
            expires: seconds from now, or a time, after which it is skipped; at most ``test_expires`` after its start.
            options: all else that Celery's ``apply_async`` takes: ``queue``, ``priority``, ``link`` …

        Returns:
            The result; its value is the verdict's name, where the worker has a result backend.

        Raises:
            DuplicateTest, TooManyTests, InvalidPayload, RedisUnavailable, BrokerUnavailable: as calling the trigger.
        """
        wait = max(0.0, countdown or (self._seconds_until(eta) if eta else 0.0))
        lifetime = self._case.test_expires.total_seconds()
        if expires is not None:
            given = self._seconds_until(expires) if isinstance(expires, datetime) else float(seconds(expires))
            lifetime = max(0.0, min(lifetime, given - wait))
        test = build(self._case, *identified(args or (), kwargs or {}), expires_in=wait + lifetime)
        test = self._record(test, lifetime, delay=wait)
        if wait:
            options["countdown"] = wait
        return self._case.app.publisher.execute(test, keep_result=True, **options)

    def s(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A Celery signature, for chains, groups and links: what it is called with comes before ``args``."""
        return self._signature(args, kwargs, immutable=False)

    def si(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """An immutable Celery signature: results of a chain are not added to its arguments."""
        return self._signature(args, kwargs, immutable=True)

    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool) -> Signature[Any]:
        # The case's name goes by keyword: a chain puts its result before the positional arguments.
        suite = self._case.app
        return suite.app.signature(
            EXECUTE,
            args=tuple(as_json(args)),
            kwargs={**as_json(kwargs), CASE_KEYWORD: self._case.name},
            options={"queue": suite.settings.queue},
            immutable=immutable,
        )

    def _seconds_until(self, time: datetime) -> float:
        """Seconds until ``time``; without a time zone it is in the app's, as Celery has it."""
        return (maybe_make_aware(time, self._case.app.app.timezone) - datetime.now(UTC)).total_seconds()

    def _record(self, test: TestExecution, expires_in: float, delay: float = 0.0) -> TestExecution:
        weigh(self._case, test)
        return self._case.app.request_store.executions.record(test, expires_in=expires_in, delay=delay)


def by_chance(case: Case) -> Callable[..., MaybeTrigger]:
    """``case.maybe_trigger``: schedule a test, or not, by ``probability``; arguments as for `Trigger`.

    For ``with`` or ``async with`` around the work under test; yields the TestExecution, then the current test inside
    the block, or None. Returns at once, and never raises.
    """

    def maybe_trigger(id: str | None = None, *args: Any, **kwargs: Any) -> MaybeTrigger:  # noqa: A002 - reference's
        try:
            outbox = case.app.outbox
            if not outbox.awake and case.app.settings.enabled:
                outbox.wake()  # it learns of changes to the settings asked for next
            # A request made up for this case is made to be tested; chance is for real ones.
            if not case.active or (random() >= case.probability and synthetic_case_var.get() != case.name):  # noqa: S311
                return _UNTESTED
            if not case.app.settings.enabled:
                return _UNTESTED
        except Exception:
            if _throttle(case.name):
                logger.exception(_WENT_WRONG, case.name)
            return _UNTESTED
        return MaybeTrigger(case, id, args, kwargs)

    return maybe_trigger


class MaybeTrigger:
    """``case.maybe_trigger(...)``, as ``with`` or ``async with``: a test, or None.

    Neither waits for anything nor raises.
    """

    def __init__(self, case: Case, id: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: A002
        self._case = case
        self._arguments = (id, args, kwargs)
        self._token: Token[TestExecution | None] | None = None

    def __enter__(self) -> TestExecution | None:
        try:
            test = self._request()
        except InvalidPayload as exc:
            self._case.app.outbox.drop(1, PAYLOAD, str(exc))
            return None
        except Exception:
            if _throttle(self._case.name):
                logger.exception(_WENT_WRONG, self._case.name)
            return None
        if test is not None:
            self._token = current_test_var.set(test)
        return test

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current_test_var.reset(self._token)
            self._token = None

    async def __aenter__(self) -> TestExecution | None:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _request(self) -> TestExecution | None:
        case = self._case
        test_id, args, kwargs = self._arguments
        test = build(case, test_id, args, kwargs)
        taken = case.app.outbox.put(Requested(test, case.test_expires.total_seconds(), weigh(case, test)))
        return test if taken else None


class _Untested(MaybeTrigger):
    """For all the requests that are not under test; has no state."""

    def __init__(self) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_UNTESTED: Final = _Untested()


def build(
    case: Case,
    id: str | None = None,  # noqa: A002
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    expires_in: float | None = None,
) -> TestExecution:
    """An execution of ``case`` requested now.

    Raises:
        InvalidPayload: the arguments are not JSON, or the id is too long.
    """
    test_id = _new_id() if id is None else str(id)
    if len(test_id) > MAX_ID:
        raise InvalidPayload(
            f"case {case.name}: the id {test_id!a:.40} … is {len(test_id)} characters, over the limit of {MAX_ID}"
        )
    now = datetime.now(UTC)
    current = current_test()
    test = TestExecution(
        id=test_id,
        case_name=case.name,
        timestamp=now,
        test_args=list(args) if _characters(args) is not None else as_json(args),
        test_kwargs=as_json(kwargs) if kwargs and _characters(kwargs.values()) is None else dict(kwargs or {}),
        expires=now + (case.test_expires if expires_in is None else timedelta(seconds=expires_in)),
        synthetic=synthetic_case_var.get() is not None or (current is not None and current.synthetic),
        traceparent=traceparent(),
    )
    if (triggered := triggered_var.get()) is not None:
        triggered.append(test)
    return test


def _new_id() -> str:
    # uuid4() asks the system for its bits, and lets other threads in between.
    return str(uuid.UUID(int=getrandbits(128), version=4))


def identified(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The test's id, and the arguments of ``run()``, from the arguments that calling a trigger takes."""
    if args:
        return args[0], tuple(args[1:]), dict(kwargs)
    return kwargs.get("id"), (), {name: value for name, value in kwargs.items() if name != "id"}


def weigh(case: Case, test: TestExecution) -> int:
    """Bytes of the id and the arguments of ``test`` as JSON.

    Raises:
        InvalidPayload: it has no JSON form, or is over ``max_payload``.
    """
    limit = case.app.settings.max_payload
    few = _characters((test.id, *test.test_args, *test.test_kwargs, *test.test_kwargs.values()))
    if few is not None and few * _LONGEST_ESCAPE < limit:
        return few
    try:
        size = len(to_json((test.id, test.test_args, test.test_kwargs)))
    except PydanticSerializationError as exc:  # half a surrogate pair, in the id or an argument
        raise InvalidPayload(f"case {case.name}: test {test.id!a:.40} is no JSON: {exc}") from exc
    if size > limit:
        raise InvalidPayload(
            f"case {case.name}: the arguments of test {test.id:.40} are {size} bytes, over the limit of {limit} "
            "(livecheck_max_payload)"
        )
    return size


def _characters(values: Iterable[Any]) -> int | None:
    """How long ``values`` are as JSON, near enough, if they are JSON as they are; None when that takes a serializer.

    Most tests have an id and a word or two, and their requests had better not come by a serializer at all.
    """
    characters = 0
    for value in values:
        kind = type(value)
        if kind is str and value.isascii():
            characters += len(value) + 3
        elif kind is bool or value is None or (kind is int and -_LARGE < value < _LARGE):
            characters += 20
        else:
            return None
    return characters


def as_json(value: Any) -> Any:
    """``value`` in JSON's types; dataclasses, models, dates, decimals and UUIDs become their JSON forms.

    Raises:
        InvalidPayload: something in it has no JSON form.
    """
    try:
        return to_jsonable_python(value)
    except Exception as exc:  # what is of no known type, goes round in circles, or raises when it is looked at
        raise InvalidPayload(f"arguments of a test must be JSON: {exc}") from exc
