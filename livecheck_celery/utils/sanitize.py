"""Text from outside, made safe for logs and terminals; test ids, for example, come from users' requests."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any, Final

_CONTROL_SPACES: Final = re.compile(r"[^\S ]+")


def sanitize(text: str) -> str:
    """Return ``text`` as one line without control characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in _CONTROL_SPACES.sub(" ", text))


def sanitize_lines(text: str) -> str:
    """Sanitize each line of ``text``, such as a traceback; indent all lines but the first."""
    first, *others = text.splitlines() or [""]
    lines = [line if line.startswith("  ") else f"  {line}" for line in map(sanitize, others)]
    return "\n".join([sanitize(first), *lines])


def message_of(error: BaseException) -> str:
    """Return the message of ``error``; an empty string if its ``__str__``, which can be an application's, raises."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - see above
        return ""


def type_and_message(error: BaseException) -> str:
    """Return the type of ``error`` and its message, such as ``ValueError: no such order``."""
    return ": ".join(filter(None, (type(error).__name__, message_of(error))))


def get_logger(name: str) -> logging.Logger:
    """Return a logger whose records are one line each, regardless of the arguments; tracebacks are indented."""
    logger = logging.getLogger(name)
    logger.addFilter(_sanitize_record)
    return logger


def _sanitize_record(record: logging.LogRecord) -> bool:
    if isinstance(record.msg, str):
        record.msg = sanitize_lines(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(_sanitize_argument(each) for each in record.args)
    if record.exc_info and record.exc_info[0] is not None and record.exc_text is None:
        # Formatters use exc_text as the traceback; exc_info stays for other handlers.
        record.exc_text = sanitize_lines("".join(traceback.format_exception(*record.exc_info)))
    return True


def _sanitize_argument(value: Any) -> Any:
    if isinstance(value, str):
        return sanitize(value)
    return sanitize(str(value)) if isinstance(value, BaseException) else value
