"""The body of an HTTP request: made once, and sent again only if it is the same the second time."""

from __future__ import annotations

from typing import Any

import requests

#: Arguments of `requests.request` from which the URL and the body are made; each can hold an iterator or a file.
PARTS = ("params", "data", "files", "json")


class Content:
    """What is sent as a body: bytes, or a stream of them, such as a file or a generator.

    Attributes:
        is_repeatable: whether `again` gives the same bytes again; false for a generator or a pipe.
        is_stream: whether the body is read while it is sent, so that two attempts must not overlap.
        start: position of a file, from which it is sent; None for what has none.
    """

    def __init__(self, content: Any) -> None:
        self._content = content
        self.start: int | None = None
        self.is_stream = not isinstance(content, str | bytes | None)
        self.is_repeatable = not self.is_stream or _is_iterable_again(content)
        if self.is_stream and hasattr(content, "seek") and not hasattr(content, "__aiter__"):
            try:
                start = content.tell()
                content.seek(start)
                self.start, self.is_repeatable = start, True
            except (OSError, AttributeError, ValueError):
                self.is_repeatable = False

    def again(self) -> Any:
        """Return the content for one attempt; rewind a file."""
        if self.start is not None:
            self._content.seek(self.start)
        return self._content


class Body(Content):
    """URL and body of a request, from its arguments."""

    def __init__(self, method: str, url: str, headers: Any, parts: dict[str, Any]) -> None:
        """Make the body; iterators of parameters, form fields and ``files`` are read now.

        Raises:
            requests.RequestException: the URL or the body is invalid.
        """
        prepared = requests.Request(method, url, headers=headers, **parts).prepare()
        super().__init__(prepared.body)
        self._url = prepared.url
        self._content_type = prepared.headers.get("Content-Type")

    def arguments(self, headers: Any) -> dict[str, Any]:
        """Return the arguments ``url``, ``data`` and ``headers`` of one attempt; rewind a file."""
        return {"url": self._url, "data": self.again(), "headers": self._with_content_type(headers)}

    def _with_content_type(self, headers: Any) -> Any:
        if self._content_type is None or any(str(name).lower() == "content-type" for name in headers or ()):
            return headers
        return {**(headers or {}), "Content-Type": self._content_type}


def _is_iterable_again(content: Any) -> bool:
    if hasattr(content, "read") or hasattr(content, "aread"):
        return False
    try:
        return (aiter(content) if hasattr(content, "__aiter__") else iter(content)) is not content
    except TypeError:
        return False
