"""Text from outside, made fit for a log and a terminal: users' order ids become the ids of tests."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any, Final

_CONTROL_SPACES: Final = re.compile(r"[^\S ]+")


def sanitize(text: str) -> str:
    """``text`` on one line, without what would begin another one or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in _CONTROL_SPACES.sub(" ", text))


def sanitize_lines(text: str) -> str:
    """`printable`, for text of several lines, such as a traceback; all but the first are set in, if they are not."""
    first, *others = text.splitlines() or [""]
    lines = [line if line.startswith("  ") else f"  {line}" for line in map(sanitize, others)]
    return "\n".join([sanitize(first), *lines])


def get_logger(name: str) -> logging.Logger:
    """A logger whose lines are one line each, whatever their arguments are, but for tracebacks below them."""
    logger = logging.getLogger(name)
    logger.addFilter(_make_printable)
    return logger


def _make_printable(record: logging.LogRecord) -> bool:
    if isinstance(record.msg, str):
        record.msg = sanitize_lines(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(_as_argument(each) for each in record.args)
    if record.exc_info and record.exc_info[0] is not None and record.exc_text is None:
        # A formatter takes this for the traceback; what the exception itself is, others may still look up.
        record.exc_text = sanitize_lines("".join(traceback.format_exception(*record.exc_info)))
    return True


def _as_argument(value: Any) -> Any:
    if isinstance(value, str):
        return sanitize(value)
    return sanitize(str(value)) if isinstance(value, BaseException) else value
