"""Exceptions of signal handlers, such as Celery's soft time limit, at any line of LiveCheck's in a request."""

from __future__ import annotations

import dis
import linecache
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Annotated, Any

import pytest
from billiard.pool import soft_timeout_sighandler
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from pydantic import PlainSerializer

import livecheck_celery
from livecheck_celery import LiveCheck, Signal, blocks
from livecheck_celery.context import under_test
from livecheck_celery.guard import Guard, guarded
from livecheck_celery.utils import signal_handlers
from livecheck_celery.utils.sanitize import message_of
from tests.helpers.factories import make_test
from tests.helpers.http_server import KEY

PACKAGE = str(Path(livecheck_celery.__file__).parent)


class OutOfTime(TimeoutError):
    """The application's own."""


def raise_out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTime


def raise_once(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise OutOfTime


def raise_without_arguments(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise OutOfTime


class Handlers:
    """Handlers that are no plain function."""

    def method(self, number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    def __call__(self, *args: object) -> None:
        raise OutOfTime


@pytest.fixture
def handle() -> Iterator[Callable[[Any], None]]:
    """Set a handler of SIGALRM, until the end of the test."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler) and None
    signal.signal(signal.SIGALRM, before)


def interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGALRM)


HANDLERS = [
    raise_out_of_time,
    raise_once,
    raise_without_arguments,
    Handlers().method,
    Handlers(),
    partial(lambda _, *args: raise_out_of_time(*args), "of the application"),
    soft_timeout_sighandler,
]


@pytest.mark.parametrize("handler", HANDLERS)
def test_exception_of_a_signal_handler_propagates_from_a_guard(handle: Any, handler: Any) -> None:
    handle(handler)
    expected = SoftTimeLimitExceeded if handler is soft_timeout_sighandler else OutOfTime
    with pytest.raises(expected), Guard()("kind", "line"):
        interrupt()
    handle(handler)
    with pytest.raises(expected):
        guarded("line", 1)(interrupt)()


def test_error_of_the_same_type_that_no_handler_raised_is_logged(handle: Any, caplog: pytest.LogCaptureFixture) -> None:
    handle(raise_out_of_time)
    with Guard()("kind", "part: failed"):
        raise OutOfTime
    assert caplog.messages == ["part: failed"]


def test_error_while_the_application_handles_its_time_limit_is_logged(
    handle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handle(raise_out_of_time)
    try:
        interrupt()
    except OutOfTime:
        with Guard()("kind", "part: failed"):
            raise ZeroDivisionError from None
    assert caplog.messages == ["part: failed"]


class Interrupting:
    """A value during whose conversion the signal arrives."""

    def __str__(self) -> str:
        interrupt()
        return "text"


def test_signal_during_a_message_of_an_error_propagates(handle: Any) -> None:
    handle(raise_out_of_time)
    with pytest.raises(OutOfTime):
        message_of(ValueError(Interrupting()))


def serialized(value: int) -> int:
    interrupt()
    return value


@pytest.fixture
def case() -> Iterator[Any]:
    """A case whose items stay in the outbox."""
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False), secret_key=KEY)

    @livecheck.case(name="shop.test_order", probability=1.0)
    class test_order:
        stored: Signal[list[int]]
        priced: Signal[Annotated[int, PlainSerializer(serialized)]]

        def run(self) -> None: ...

    livecheck.runtime.outbox.running = True
    yield test_order
    livecheck.runtime.outbox.running = False
    livecheck.runtime.outbox.after_fork()
    livecheck.close()


def test_signal_in_an_applications_serializer_propagates(handle: Any, case: Any) -> None:
    handle(raise_out_of_time)
    with under_test(make_test(case_name=case.name)), pytest.raises(OutOfTime):
        case.priced.send(1)
    assert not blocks.tests_in_force()


def trigger(case: Any) -> None:
    with case.maybe_trigger("1", side="sell"):
        pass


def trigger_with_an_odd_id(case: Any) -> None:
    with case.maybe_trigger(object()):
        pass


def send(case: Any) -> None:
    case.stored.send([1, 2], key="1", force=True)


def send_what_is_not_json(case: Any) -> None:
    case.stored.send(iter(()), key="1", force=True)


def finish_operation(case: Any) -> None:
    case.app.operation_finished("task", "orders.store", [make_test()], value={"a": [1]})


def carry(case: Any) -> None:
    case.app.inject({})
    with case.app.extract({"LiveCheck-Test-Id": "1"}):
        pass


def serve(case: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"stored"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_LIVECHECK_TEST_ID": "1"}
    list(case.app.wsgi(app)(environ, lambda *_: lambda _: None))


@cache
def lines_of(code: CodeType) -> frozenset[int]:
    """Return the lines of LiveCheck's code at which Python handles signals: at calls, and at the ends of loops.

    Those of a ``with`` are left out, since Python handles none before it calls ``__exit__()``.
    """
    if not code.co_filename.startswith(PACKAGE) or code.co_filename == signal_handlers.__file__:
        return frozenset()
    found, line = set(), 0
    for one in dis.get_instructions(code):
        line = one.starts_line or line
        is_with = linecache.getline(code.co_filename, line).lstrip().startswith("with ")
        if one.opname.startswith(("CALL", "JUMP_BACKWARD")) and not is_with:
            found.add(line)
    return frozenset(found)


def interrupted_at(line: int, action: Callable[[], object]) -> bool:
    """Raise the signal at a line of LiveCheck's that ``action`` executes; return whether there is such a line."""
    left, before = line, sys.gettrace()

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if event == "line" and frame.f_lineno in lines_of(frame.f_code):
            left -= 1
            if left == 0:
                interrupt()
        return trace

    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return left <= 0


@pytest.mark.promise(
    "A time limit of the application is never swallowed, whatever LiveCheck does meanwhile.", theme="requests"
)
@pytest.mark.parametrize(
    "action", [trigger, trigger_with_an_odd_id, send, send_what_is_not_json, finish_operation, carry, serve]
)
def test_signal_at_any_line_propagates_and_leaves_no_block(
    handle: Any, case: Any, action: Callable[[Any], None]
) -> None:
    handle(raise_out_of_time)
    action(case)
    line = 1
    while True:
        case.app.guard.throttle = Guard().throttle
        try:
            if not interrupted_at(line, partial(action, case)):
                break
        except OutOfTime:
            pass
        else:
            pytest.fail(f"swallowed at line {line}")
        assert blocks._open.get() == ()
        line += 1
    assert line > 20
    case.app.runtime.outbox.count("x")  # the lock is free
