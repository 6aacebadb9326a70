"""Values that cross processes: executions, signal events, reports.

All datetimes are aware and in UTC; all durations are seconds. Values from other processes are validated by the adapters
at the end of the module; values made in this process are not, since requests wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote, unquote

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from livecheck_celery.binding import bind_to
from livecheck_celery.blocks import Mark
from livecheck_celery.errors import InvalidPayload
from livecheck_celery.utils import clock
from livecheck_celery.utils.own_random import OWN
from livecheck_celery.utils.sanitize import encodable, sanitize, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler

T = TypeVar("T")

#: Version of the layout of records, messages, headers and stored JSON. Two versions run side by side during an upgrade:
#: a reader leaves what has a newer layout to processes of the newer version.
LAYOUT: Final = 1
#: Longest id of a test, in characters.
MAX_ID: Final = 512
#: Longest error in a signal or a report, in characters.
MAX_ERROR: Final = 2_000

#: Header names: the reference's four and LiveCheck's own.
HEADER_ID: Final = "LiveCheck-Test-Id"
HEADER_NAME: Final = "LiveCheck-Test-Name"
HEADER_TIMESTAMP: Final = "LiveCheck-Test-Timestamp"
HEADER_EXPIRES: Final = "LiveCheck-Test-Expires"
HEADER_NONCE: Final = "LiveCheck-Test-Nonce"
#: The mark of a fake request.
HEADER_SYNTHETIC: Final = "LiveCheck-Synthetic"
#: The mark in Celery messages of earlier versions, which can wait in a queue for long: 1.
HEADER_OLD_SYNTHETIC: Final = "LiveCheck-Test-Synthetic"
#: Host of the service for which the headers were signed; absent for any service.
HEADER_AUDIENCE: Final = "LiveCheck-Audience"
HEADER_SIGNATURE: Final = "LiveCheck-Test-Signature"
#: Further tests that the work is part of, as one value.
HEADER_OUTER: Final = "LiveCheck-Test-Outer"
#: Layout of the headers; absent for layout 1.
HEADER_LAYOUT: Final = "LiveCheck-Test-Layout"
#: Header of the response to a request whose test was accepted.
HEADER_ACCEPTED: Final = "LiveCheck-Accepted"
#: What a service counts, by host, of the requests that it sends.
UNACKNOWLEDGED, OLD_MARK = "unacknowledged", "old mark"

# No space: HTTP clients refuse a header with a leading space, and servers strip a trailing one.
_SAFE_IN_HEADER = "/:.-_~@+=,[]<>()!$*;"
_SHORT_ID = 15


def is_newer(layout: object) -> bool:
    """Return whether a layout, as a number or a text, is newer than this process can read."""
    if layout is None:  # that of layout 1; an exception takes longer
        return False
    try:
        return int(layout) > LAYOUT  # type: ignore[call-overload, no-any-return] # TypeError is handled
    except (TypeError, ValueError):
        return False


def id_of(value: object) -> str | None:
    """Return an id that a caller gave, such as a number or a UUID, as text; None if it is None or empty.

    Raises:
        InvalidPayload: ``str(value)`` raises.
    """
    try:
        return None if value is None else encodable(str(value)) or None
    except Exception as exc:
        reraise_from_handler(exc)
        raise InvalidPayload(
            f"the id is of class {type(value).__name__}, whose str() raises {type_and_message(exc)}; give it as text"
        ) from exc


def new_send_id() -> str:
    """Return an id of a send, unique among those of one signal of one test."""
    return OWN.getrandbits(48).to_bytes(6, "big").hex()


def made(kind: type[T], **fields: Any) -> T:
    """Return an instance of a frozen dataclass of this module, from all of its fields.

    Its constructor takes three times as long, for which requests wait.
    """
    instance = object.__new__(kind)
    vars(instance).update(fields)
    return instance


class State(StrEnum):
    """State of a suite, and verdict of an execution (reference: ``livecheck.models.State``)."""

    INIT = "INIT"
    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    STALL = "STALL"
    SKIP = "SKIP"

    def is_ok(self) -> bool:
        """Return whether the state is INIT, PASS or SKIP."""
        return self in (State.INIT, State.PASS, State.SKIP)


@dataclass(frozen=True)
class TestExecution:
    """One requested run of a case (reference: ``TestExecution``).

    Attributes:
        id: the caller's name for the execution, and the key of its signals; up to `MAX_ID` characters.
        case_name: full name of the case.
        timestamp: time of the trigger.
        test_args: positional arguments for ``run()``, as JSON.
        test_kwargs: keyword arguments for ``run()``, as JSON.
        expires: time from which the test is no longer run.
        mark: of the fake request that caused it; None if a real one did.
        traceparent: W3C Trace Context of the OpenTelemetry span in which it was triggered; None without one.
        recorded_at: Redis time of the record, seconds since the epoch; None before that, and for an execution that a
            chain, group or link requests by a message alone.
        message_options: options of its Celery message as JSON, such as the task id; None for the defaults.
        nonce: random, so that two tests of one id that are triggered at the same time differ; empty if another program,
            or a version of LiveCheck without nonces, triggered the test or sent the headers.
    """

    __test__ = False  # keeps pytest from collecting it

    id: Annotated[str, Field(max_length=MAX_ID)]
    case_name: str
    timestamp: AwareDatetime
    test_args: list[Any]
    test_kwargs: dict[str, Any]
    expires: AwareDatetime
    mark: Mark | None = None
    traceparent: str | None = None
    recorded_at: float | None = field(default=None, compare=False)
    message_options: str | None = field(default=None, compare=False, repr=False)
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{0,32}$")] = ""

    @property
    def synthetic(self) -> bool:
        """Whether a fake request caused it (not in the reference)."""
        return self.mark is not None

    def as_headers(self) -> dict[str, str]:
        """Return the test's identity as message or HTTP headers, without its arguments and its mark."""
        # Kept with the test, which is sent with each of its messages and requests.
        headers: dict[str, str] | None = vars(self).get("_headers")
        if headers is None:
            headers = vars(self)["_headers"] = self._make_headers()
        return dict(headers)

    def _make_headers(self) -> dict[str, str]:
        headers = {
            HEADER_ID: quote(self.id, safe=_SAFE_IN_HEADER),
            HEADER_NAME: quote(self.case_name, safe=_SAFE_IN_HEADER),
            HEADER_TIMESTAMP: self.timestamp.isoformat(),
            HEADER_EXPIRES: self.expires.isoformat(),
        }
        if self.nonce:
            headers[HEADER_NONCE] = self.nonce
        if LAYOUT > 1:
            headers[HEADER_LAYOUT] = str(LAYOUT)
        return headers

    @property
    def use(self) -> str:
        """Identifies this use of the id, among all tests that have the id: the time of the trigger, and the nonce."""
        # Kept with the test, since each of its signals and its record have it.
        use: str | None = vars(self).get("_use")
        if use is None:
            seconds = f"{self.timestamp.timestamp():.6f}"
            use = vars(self)["_use"] = f"{seconds}-{self.nonce}" if self.nonce else seconds
        return use

    def used_at(self, use: str) -> TestExecution:
        """Return the test as that of another use of its id."""
        if use == self.use:
            return self
        seconds, _, nonce = use.partition("-")
        return replace(self, timestamp=datetime.fromtimestamp(float(seconds), UTC), nonce=nonce)

    def recorded(self, at: float) -> TestExecution:
        """Return the test with ``recorded_at``."""
        return made(TestExecution, **{**vars(self), "recorded_at": at})

    def as_message(self) -> dict[str, Any]:
        """Return the execution as JSON types, for a Celery message; nan and the infinities stay floats."""
        message: dict[str, Any] = to_jsonable_python(self, exclude={"message_options"}, inf_nan_mode="constants")
        return message

    @classmethod
    def from_headers(cls, headers: Mapping[str, Any], mark: Mark | None = None) -> TestExecution | None:
        """Parse the test from headers; return None if they carry no test, or a malformed one, or are too new.

        The reference raises if a header is missing; here a malformed header never fails a request.

        Args:
            headers: with the names that LiveCheck gives them.
            mark: of the fake request that caused the test.
        """
        if is_newer(headers.get(HEADER_LAYOUT)):
            return None
        try:
            return EXECUTION.validate_python(
                {
                    "id": unquote(headers[HEADER_ID]),
                    "case_name": unquote(headers[HEADER_NAME]),
                    "timestamp": headers[HEADER_TIMESTAMP],
                    "test_args": [],
                    "test_kwargs": {},
                    "expires": headers[HEADER_EXPIRES],
                    "mark": mark,
                    "nonce": headers.get(HEADER_NONCE, ""),
                }
            )
        except (KeyError, TypeError, AttributeError, ValidationError):
            return None

    def bind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, as part of this test wherever it is called: in a thread, a process pool, a callback.

        The function can be a coroutine function or a generator function, and can be pickled if ``function`` can. Inside
        the block of the test, it is also part of the tests around the block, and of the fake request.
        """
        return bind_to(self, function)

    @property
    def ident(self) -> str:
        """``case:id`` for logs; control characters are replaced."""
        return sanitize(f"{self.case_name}:{self.id}")

    @property
    def shortident(self) -> str:
        """Last part of the case name and the id, cut to 15 characters."""
        return sanitize(f"{self.short_case_name}:{self.id[:_SHORT_ID]}")

    @property
    def short_case_name(self) -> str:
        """Last part of the dotted case name."""
        return self.case_name.rpartition(".")[2]

    @property
    def human_date(self) -> str:
        """Time of the trigger, for people."""
        return f"Today {self.timestamp:%H:%M:%S}" if self.was_issued_today else f"{self.timestamp:%Y-%m-%d %H:%M:%S}"

    @property
    def was_issued_today(self) -> bool:
        """Whether it was triggered on the current day (UTC)."""
        return self.timestamp.astimezone(UTC).date() == datetime.now(UTC).date()

    @property
    def is_expired(self) -> bool:
        """Whether ``expires`` is in the past, by the time of Redis as far as this process knows it."""
        return clock.now() >= self.expires


class JSONText(str):
    """JSON text, in place of the value that it encodes."""

    __slots__ = ()


NULL: Final = JSONText("null")


def _stored(value: Any) -> JSONText:
    """Mark the value of a stored event, which is JSON text."""
    if not isinstance(value, str):
        raise ValueError("must be JSON text")  # noqa: TRY004 - pydantic expects a ValueError
    return JSONText(value)


@dataclass(frozen=True)
class SignalEvent:
    """A signal sent to a test (reference: ``SignalEvent``).

    Attributes:
        signal_name: name of the signal on its case.
        case_name: full name of the case.
        key: id of the receiving test.
        value: the value; or its `JSONText`, in events that are stored.
        error: why the sender could not encode the value; None if the signal has a value.
        received_at: Redis time at which the signal was stored, seconds since the epoch; None before that.
        arrivals: number of times the signal has arrived, this one included.
        first_at: Redis time at which it arrived for the first time; None before that.
        use: use of the id that the sender was part of (`TestExecution.use`); empty if unknown.
        send_id: identifies this send, so that a repeated write counts once.
    """

    signal_name: str
    case_name: str
    key: str
    value: Annotated[Any, AfterValidator(_stored)] = NULL
    error: str | None = None
    received_at: float | None = None
    arrivals: int = 1
    first_at: float | None = field(default=None, compare=False)
    use: str = field(default="", compare=False)
    send_id: str = field(default_factory=new_send_id, compare=False)

    @property
    def label(self) -> str:
        """The name of the signal, and how often it arrived if that is more than once: ``order_stored (twice)``."""
        return self.signal_name if self.arrivals == 1 else f"{self.signal_name} ({times_in_words(self.arrivals)})"


def times_in_words(number: int) -> str:
    """Return ``once``, ``twice``, ``3 times`` and so on."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


@dataclass(frozen=True)
class TestReport:
    """Outcome of one execution, or of a suite when ``test`` is None (reference: ``TestReport``).

    Attributes:
        case_name: full name of the case.
        state: the verdict.
        test: the execution; None for a report about the suite.
        runtime: seconds from start to verdict; None if ``run()`` was not called, or its worker is lost.
        signal_latency: seconds ``wait()`` waited for each signal (as in the reference; about 0 for an early signal).
        error: the failure, one line.
        traceback: traceback of the failure.
        signal_since_trigger: seconds from the trigger to each signal that arrived.
        at: Redis time of the verdict, seconds since the epoch; None before that.
        signal_arrivals: number of arrivals of each signal that arrived more than once.
    """

    __test__ = False

    case_name: str
    state: State
    test: TestExecution | None = None
    runtime: float | None = None
    signal_latency: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    signal_since_trigger: dict[str, float] = field(default_factory=dict)
    at: float | None = None
    signal_arrivals: dict[str, int] = field(default_factory=dict)


def _with_mark(value: Any) -> Any:
    """Add the mark to an execution of an earlier version, which says only whether it is synthetic."""
    if not isinstance(value, dict) or value.get("synthetic") is not True or "mark" in value:
        return value
    mark = {"case_name": value.get("case_name"), "since": value.get("timestamp"), "expires": value.get("expires")}
    return {**value, "mark": mark}


EXECUTION: Final[TypeAdapter[TestExecution]] = TypeAdapter(Annotated[TestExecution, BeforeValidator(_with_mark)])
EVENT: Final = TypeAdapter(SignalEvent)
REPORT: Final = TypeAdapter(TestReport)
