"""Format failures: one line for a table, a traceback for debugging."""

from __future__ import annotations

from typing import Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.execution.places import raised_at
from livecheck_celery.execution.verdicts import exceptions_of, verdict_of
from livecheck_celery.utils.sanitize import encodable, message_of, sanitize, traceback_of, type_and_message

_MAX_LINE: Final = 2_000
_MAX_OTHER: Final = 200
_MAX_TRACEBACK: Final = 16_000


def describe(error: BaseException) -> str:
    """Format ``error`` as one line: its message, and the file and line in user code, except of LiveCheck's errors.

    Of a group, the line begins with the exception that decides the verdict, and names the others.
    """
    _, deciding = verdict_of(error)
    others = [_one_line(type_and_message(each))[:_MAX_OTHER] for each in exceptions_of(error) if each is not deciding]
    return encodable("; also raised: ".join([_describe_single(deciding), *others])[:_MAX_LINE])


def trace(error: BaseException) -> str:
    """Return the traceback of ``error``, cut to its last 16,000 characters."""
    return traceback_of(error)[-_MAX_TRACEBACK:]


def _describe_single(error: BaseException) -> str:
    text = _one_line(message_of(error))
    if isinstance(error, LiveCheckError):
        return text
    place = raised_at(error)
    if not isinstance(error, AssertionError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    elif place is not None:
        text = text or place.source
    return f"{text} ({place})" if place is not None else text


def _one_line(text: str) -> str:
    return sanitize(" ".join(text.split()))
