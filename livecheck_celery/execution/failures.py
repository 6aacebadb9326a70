"""Format failures: one line for a table, a traceback for debugging."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.utils.sanitize import message_of, sanitize

_MAX_LINE: Final = 2_000
_MAX_TRACEBACK: Final = 16_000


def describe(error: BaseException) -> str:
    """Format ``error`` as one line: its message, and the file and line of an assertion."""
    text = sanitize(" ".join(message_of(error).split()))
    if isinstance(error, AssertionError):
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            text = f"{text or frames[-1].line} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    elif not isinstance(error, LiveCheckError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:_MAX_LINE]


def trace(error: BaseException) -> str:
    """Return the traceback of ``error``, cut to its last 16,000 characters."""
    return "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
