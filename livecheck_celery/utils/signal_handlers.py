"""Exceptions of signal handlers, such as Celery's soft time limit, which interrupt whatever code the main thread runs.

They belong to the program that set the handler, so code that catches the errors of its own work lets them through.
"""

from __future__ import annotations

import inspect
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def reraise_from_handler(error: BaseException) -> None:
    """Raise the exception of a signal handler, if ``error`` is one, or was raised from one.

    Call it first in each ``except`` that catches any error.
    """
    each: BaseException | None = error
    while each is not None:
        if any(_is_signal_handler(frame) for frame, _ in traceback.walk_tb(each.__traceback__)):
            raise each
        each = each.__cause__


@contextmanager
def errors_ignored(*others: type[BaseException]) -> Iterator[None]:
    """Suppress the errors of the block, and exceptions of the types ``others``; but not those of signal handlers."""
    try:
        yield
    except (Exception, *others) as exc:  # type: ignore[misc] # noqa: BLE001 - of user code; mypy does not know the tuple
        reraise_from_handler(exc)


def _is_signal_handler(frame: FrameType) -> bool:
    """Return whether Python called ``frame`` for a signal: with the frame that it interrupted, which called nothing.

    A handler that deletes its arguments is found by its registration.
    """
    if frame.f_back is None:
        return False
    arguments = inspect.getargvalues(frame)
    given = [arguments.locals.get(name) for name in arguments.args]
    if arguments.varargs is not None:
        given += arguments.locals.get(arguments.varargs, ())
    return any(each is frame.f_back for each in given) or any(
        getattr(signal.getsignal(number), "__code__", None) is frame.f_code for number in signal.valid_signals()
    )
