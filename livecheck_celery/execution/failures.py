"""What broke, in words: one line for a table, a traceback for who digs."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from livecheck_celery.errors import LiveCheckError
from livecheck_celery.utils.sanitize import sanitize

_MAX_LINE: Final = 2_000
_MAX_TRACEBACK: Final = 16_000


def describe(error: BaseException) -> str:
    """One line on ``error``: its message, and where an assertion stands."""
    text = sanitize(" ".join(str(error).split()))
    if isinstance(error, AssertionError):
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            text = f"{text or frames[-1].line} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    elif not isinstance(error, LiveCheckError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:_MAX_LINE]


def trace(error: BaseException) -> str:
    """The traceback of ``error``; its end, when it is very long."""
    return "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
