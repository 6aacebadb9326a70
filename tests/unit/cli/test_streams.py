"""Output is printable, whatever the encoding of the terminal is."""

from __future__ import annotations

import io

import pytest

from livecheck_celery.cli.streams import make_printable


@pytest.mark.parametrize(
    ("encoding", "text", "printed"),
    [
        ("ascii", "café …", "caf\\xe9 ~"),
        ("ascii", "日本", "\\u65e5\\u672c"),
        ("latin-1", "café 😀", "café \\U0001f600"),
        ("utf-8", "café …", "café …"),
        ("utf-8", "caf\udce9", "caf\\udce9"),
    ],
)
def test_text_that_the_stream_cannot_encode_is_escaped(encoding: str, text: str, printed: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    make_printable(stream, io.StringIO())
    stream.write(text)
    stream.flush()
    assert raw.getvalue().decode(encoding) == printed
