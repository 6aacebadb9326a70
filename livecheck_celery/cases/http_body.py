"""The body of an HTTP request: made once, and sent again only if it is the same the second time."""

from __future__ import annotations

from typing import Any

import requests

#: Arguments of `requests.request` from which the URL and the body are made; each can hold an iterator or a file.
PARTS = ("params", "data", "files", "json")


class Body:
    """URL and body of a request, from its arguments.

    Attributes:
        is_repeatable: whether `arguments` gives the same body again; false for a generator or a pipe.
        is_stream: whether the body is read while it is sent, so that two attempts must not overlap.
    """

    def __init__(self, method: str, url: str, headers: Any, parts: dict[str, Any]) -> None:
        """Make the body; iterators of parameters, form fields and ``files`` are read now.

        Raises:
            requests.RequestException: the URL or the body is invalid.
        """
        prepared = requests.Request(method, url, headers=headers, **parts).prepare()
        self._url, self._content, self._start = prepared.url, prepared.body, None
        self._content_type = prepared.headers.get("Content-Type")
        content: Any = self._content
        self.is_stream = not isinstance(content, str | bytes | None)
        self.is_repeatable = not self.is_stream or _is_iterable_again(content)
        if self.is_stream and hasattr(content, "seek"):
            try:
                self._start = content.tell()
                content.seek(self._start)
                self.is_repeatable = True
            except (OSError, AttributeError, ValueError):
                self.is_repeatable = False

    def arguments(self, headers: Any) -> dict[str, Any]:
        """Return the arguments ``url``, ``data`` and ``headers`` of one attempt; rewind a file."""
        content: Any = self._content
        if self._start is not None and self.is_repeatable:
            content.seek(self._start)
        return {"url": self._url, "data": content, "headers": self._with_content_type(headers)}

    def _with_content_type(self, headers: Any) -> Any:
        if self._content_type is None or any(str(name).lower() == "content-type" for name in headers or ()):
            return headers
        return {**(headers or {}), "Content-Type": self._content_type}


def _is_iterable_again(content: Any) -> bool:
    if hasattr(content, "read"):
        return False
    try:
        return iter(content) is not content
    except TypeError:
        return False
