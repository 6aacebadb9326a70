"""Text from outside, made safe for logs and terminals; test ids, for example, come from users' requests."""

from __future__ import annotations

import logging
import re
import traceback
import unicodedata
from typing import Any, Final

from livecheck_celery.utils.secrets import without_url_secrets
from livecheck_celery.utils.signal_handlers import reraise_from_handler

#: Characters of an error's message that are kept.
_MAX_MESSAGE: Final = 2_000
#: Characters of a traceback that are kept.
_MAX_TRACEBACK: Final = 16_000
_CONTROL_SPACES: Final = re.compile(r"[^\S ]+")
#: Names of letters, marks and symbols without a shape, such as HANGUL FILLER. `str.isprintable` knows the categories of
#: Default_Ignorable_Code_Point, but not its other characters, and unicodedata lacks the property. Names never change.
_INVISIBLE: Final = re.compile(r"VARIATION SELECTOR|FILLER|JOINER$|VOWEL INHERENT| BLANK$|NULL NOTEHEAD")


def sanitize(text: str) -> str:
    """Return ``text`` as one line without control characters and invisible ones."""
    if is_printable(text):
        return text
    return "".join(one if is_printable(one) else "?" for one in _CONTROL_SPACES.sub(" ", text))


def is_printable(text: str) -> bool:
    """Return whether each character of ``text`` is a space or visible."""
    return text.isprintable() and (text.isascii() or not any(map(_is_invisible, text)))


def _is_invisible(character: str) -> bool:
    is_named = _INVISIBLE.search(unicodedata.name(character, "")) is not None
    return is_named and unicodedata.category(character) != "Po"  # a punctuation mark that fills a line


def sanitize_lines(text: str) -> str:
    """Sanitize each line of ``text``, such as a traceback; indent all lines but the first."""
    first, *others = text.splitlines() or [""]
    lines = [line if line.startswith("  ") else f"  {line}" for line in map(sanitize, others)]
    return "\n".join([sanitize(first), *lines])


def encodable(text: str) -> str:
    r"""Return ``text`` in a form that UTF-8 can encode: half of a surrogate pair becomes its escape, ``\udce9``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def message_of(error: BaseException) -> str:
    """Return the message of ``error``, at most 2,000 characters, which UTF-8 can encode, without the secrets of URLs.

    The message is empty if the ``__str__`` of the error, which can be an application's, raises.
    """
    try:
        return encodable(without_url_secrets(str(error)[: 2 * _MAX_MESSAGE])[:_MAX_MESSAGE])
    except BaseException as exc:  # noqa: BLE001 - as the traceback module does
        reraise_from_handler(exc)
        return ""


def type_and_message(error: BaseException) -> str:
    """Return the type of ``error`` and its message, such as ``ValueError: no such order``."""
    return ": ".join(filter(None, (type(error).__name__, message_of(error))))


def traceback_of(error: BaseException) -> str:
    """Return the traceback of ``error`` with its causes, notes and group, as Python prints it, which UTF-8 can encode.

    It is cut to its last 16,000 characters, and the secrets of URLs are masked. If a part of the error, which can be an
    application's, raises when it is read: its frames and its type.
    """
    try:
        lines = traceback.format_exception(error)
    except BaseException as exc:  # noqa: BLE001 - see above
        reraise_from_handler(exc)
        lines = [*traceback.format_tb(error.__traceback__), f"{type_and_message(error)}\n"]
    return encodable(without_url_secrets("".join(lines)[-2 * _MAX_TRACEBACK :])[-_MAX_TRACEBACK:])


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
    if record.exc_info and record.exc_info[1] is not None and record.exc_text is None:
        # Formatters use exc_text as the traceback; exc_info stays for other handlers.
        record.exc_text = sanitize_lines(traceback_of(record.exc_info[1]))
    return True


def _sanitize_argument(value: Any) -> Any:
    if isinstance(value, str):
        return sanitize(value)
    return sanitize(message_of(value)) if isinstance(value, BaseException) else value
