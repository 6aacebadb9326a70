"""The log lines of one test: formatted when they are logged, bounded, and written together at the verdict."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from livecheck_celery.utils.sanitize import sanitize
from livecheck_celery.utils.signal_handlers import errors_ignored, reraise_from_handler

#: Longest line, in characters; the number of lines kept of a test, and their characters in all.
MAX_LINE: Final = 2_000
MAX_LINES: Final = 1_000
MAX_CHARACTERS: Final = 64 * 1024
#: What else user code raises that logging ignores; not what a pool raises in it, such as the timeouts of gevent.
EXITS: Final = (SystemExit, KeyboardInterrupt)


def formatted(msg: object, args: tuple[object, ...]) -> str:
    """Return ``msg % args`` as logging formats it; both as they are if that fails, since logging decides no verdict."""
    try:
        text = str(msg)
        if args:
            # As logging does: a single mapping holds the values by name.
            is_mapping = len(args) == 1 and isinstance(args[0], Mapping) and args[0]
            text %= args[0] if is_mapping else args
    except (Exception, *EXITS) as exc:  # noqa: BLE001 - __str__ and __repr__ of user code can raise anything
        reraise_from_handler(exc)
        text = f"{_shown(msg)} % {_shown(args)} ({type(exc).__name__}: cannot be formatted)"
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}… ({len(text)} characters)"


def write(logger: logging.Logger, level: int, msg: str, *args: object, **options: Any) -> None:
    """Log to ``logger``; ignore what its handlers and filters raise, since logging decides no verdict."""
    with errors_ignored(*EXITS):
        logger.log(level, msg, *args, stacklevel=2, **options)  # the caller's line


class TestLog:
    """The lines of one test.

    Attributes:
        lines: the lines that are kept, as (level, text).
    """

    __test__ = False  # keeps pytest from collecting it

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self._characters = self._left_out = 0

    def keep(self, level: int, text: str) -> None:
        """Keep a line until `flush`."""
        self._characters += len(text)
        if len(self.lines) < MAX_LINES and self._characters <= MAX_CHARACTERS:
            self.lines.append((level, text))
        else:
            self._left_out += 1

    def flush(self, logger: logging.Logger, heading: str) -> None:
        """Write the lines as one record, at the highest of their levels."""
        if not self.lines:
            return
        lines = [sanitize(line) for _, text in self.lines for line in text.splitlines()]
        if self._left_out:
            lines.append(f"… and {self._left_out} more lines")
        level = max(level for level, _ in self.lines)
        write(logger, level, "%s; logged:" + "\n  %s" * len(lines), heading, *lines)
        self.lines.clear()
        self._characters = self._left_out = 0


def _shown(value: object) -> str:
    try:
        return repr(value)[:MAX_LINE]
    except (Exception, *EXITS) as exc:  # noqa: BLE001 - see above
        reraise_from_handler(exc)
        return f"<{type(value).__name__}>"
