"""Output streams that print every text, whatever their encoding is."""

from __future__ import annotations

import codecs
import io
from typing import Any, Final

#: The name of the error handler.
PRINTABLE: Final = "livecheck.printable"
#: What stands for a character that the stream cannot encode, with the same width; others are escaped.
_REPLACEMENTS: Final = {"…": "~", "─": "-", "→": ">"}


def make_printable(*streams: Any) -> None:
    """Make each of ``streams`` escape the characters that its encoding lacks, instead of raising."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PRINTABLE)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = [_REPLACEMENTS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in text]
    return "".join(escaped), error.end


def printable(text: str, stream: Any) -> str:
    """Return ``text`` as ``stream`` will print it, which can be longer."""
    if text.isascii():  # each encoding of a terminal has these characters
        return text
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, PRINTABLE).decode(encoding)


codecs.register_error(PRINTABLE, _replace)
