"""Format failures as one line."""

from __future__ import annotations

import logging
import re
from typing import Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.execution.operands import failed_assert, text_of, values_of
from livecheck_celery.execution.places import Place, in_brackets, raised_at
from livecheck_celery.execution.test_log import write
from livecheck_celery.execution.verdicts import exceptions_of, verdict_of
from livecheck_celery.models import TestReport
from livecheck_celery.utils.durations import in_seconds
from livecheck_celery.utils.sanitize import (
    encodable,
    get_logger,
    message_of,
    sanitize,
    type_and_message,
)
from livecheck_celery.utils.sentry import CASE, CAUSE
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

_MAX_LINE: Final = 2_000
_MIN_TEXT: Final = 200
_MAX_OTHER: Final = 200
_MAX_OTHERS: Final = 10
_NUMBER: Final = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")


def describe(error: BaseException) -> str:
    """Format ``error`` as one line: its message, and the file and line in user code, except of LiveCheck's errors.

    Of a group, the line begins with the exception that decides the verdict, and names the others.
    """
    _, deciding = verdict_of(error)
    others = [each for each in exceptions_of(error) if each is not deciding]
    texts = [_one_line(type_and_message(each))[:_MAX_OTHER] for each in others[:_MAX_OTHERS]]
    if len(others) > len(texts):
        texts.append(f"{len(others) - len(texts)} more")
    try:
        # An exception that was only put into a group has the place of the group.
        text = _describe_single(deciding, raised_at(deciding) or raised_at(error))
    except Exception:  # noqa: BLE001 - of user code that the error refers to; the verdict needs a text
        throttled.exception("failures: failed to describe an error")
        text = type(deciding).__name__
    return encodable("; also raised: ".join([text[:_MAX_LINE], *texts])[:_MAX_LINE])


def cause(error: BaseException) -> str:
    """Return what failed, in words that are the same for each test with the same failure, for grouping.

    Of an error in user code: its type, and the function and the text of the line, without numbers that edits change.
    """
    place = None if isinstance(error, LiveCheckError) else raised_at(error)
    if place is not None:
        return sanitize(f"{type(error).__name__} in {place.code.co_qualname}: {place.source}")[:_MAX_OTHER]
    text = _one_line(message_of(error)).partition(";")[0]
    return f"{type(error).__name__}: {_NUMBER.sub('N', text)}"[:_MAX_OTHER]


def log_verdict(logger: logging.Logger, ident: str, report: TestReport, error: BaseException | None) -> None:
    """Log a verdict as one line: PASS and SKIP as information, others as errors with their traceback."""
    is_ok = report.state.is_ok()
    took = "" if report.runtime is None else f" in {in_seconds(report.runtime)}"
    why = f": {report.error}" if report.error else ""
    write(
        logger,
        logging.INFO if is_ok else logging.ERROR,
        "runner: %s: %s%s%s",
        *(ident, report.state, took, why),
        exc_info=None if is_ok else error,
        extra={CASE: report.case_name, CAUSE: f"{report.state}: {cause(error)}" if error else None},
    )


def _describe_single(error: BaseException, place: Place | None) -> str:
    text = _one_line(message_of(error))
    if isinstance(error, LiveCheckError):
        return text
    if isinstance(error, AssertionError):
        return text if place is None else _describe_assertion(text, place)
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return _with_end(text, in_brackets(place))


def _describe_assertion(text: str, place: Place) -> str:
    """Return the message or the condition of an assertion, its place, and the values of its operands."""
    values = ""
    try:
        statement = failed_assert(place)
        if statement is not None:
            # A text that pytest wrote has the values.
            values = "" if text.startswith("assert ") else values_of(statement, place, text)
            text = text or text_of(statement)
    except Exception:
        logger.debug("failures: no values of the assertion at %s", place, exc_info=True)
    values = f", where {_one_line(values)}" if values else ""
    return _with_end(text or place.source or "AssertionError", f"{in_brackets(place)}{values}")


def _with_end(text: str, end: str) -> str:
    """Return ``text`` and ``end`` as one line of at most 2,000 characters, of which a long text is cut."""
    return text[: max(_MIN_TEXT, _MAX_LINE - len(end))] + end


def _one_line(text: str) -> str:
    return sanitize(" ".join(text.split()))
