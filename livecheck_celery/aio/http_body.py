"""The body of a request of the asyncio face; see `livecheck_celery.cases.http_body`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import httpx

from livecheck_celery.cases.http_attempts import sent_once
from livecheck_celery.cases.http_body import Content

_CHUNK: Final = 64 * 1024


class Body(Content):
    """URL, headers and body of a request, for each of its attempts.

    Args:
        request: the request; the body of a form with files has been read.
        content: argument of the caller for the body, if it is a stream.
    """

    def __init__(self, request: httpx.Request, content: Any) -> None:
        is_stream = not isinstance(request.stream, httpx.ByteStream)
        super().__init__(content if is_stream else None)
        self._request = request
        self.is_empty = not is_stream and not request.content
        if "Authorization" in request.headers:  # precedes the credentials of the URL
            request.url = request.url.copy_with(userinfo=b"")

    @classmethod
    async def make(cls, client: httpx.AsyncClient, method: str, url: httpx.URL | str, **kwargs: Any) -> Body:
        """Make the body; ``files`` are read now. ``kwargs`` are those of `httpx.AsyncClient.build_request`.

        Raises:
            httpx.InvalidURL: the URL is invalid.
        """
        request = client.build_request(method, url, **kwargs)
        if kwargs.get("files"):
            await asyncio.to_thread(request.read)
        content = kwargs.get("content")
        body = cls(request, kwargs.get("data") if content is None else content)
        if body.is_stream and "Content-Length" not in httpx.Headers(kwargs.get("headers")):
            body._correct_length(request.headers)
        return body

    def _correct_length(self, headers: httpx.Headers) -> None:
        """Correct the length, for which httpx takes the size that a file has: 0 for a pipe."""
        size = headers.pop("Content-Length", None)
        if size is not None and self.start is not None:
            headers["Content-Length"] = str(int(size) - self.start)
        else:
            headers["Transfer-Encoding"] = "chunked"

    def request(self, last_status: Callable[[], object], **extensions: Any) -> httpx.Request:
        """Return the request of one attempt.

        Args:
            last_status: status of the last response of the attempt.
            extensions: further extensions of httpx.
        """
        original = self._request
        return httpx.Request(
            original.method,
            original.url,
            headers=original.headers,
            stream=_Stream(self, last_status) if self.is_stream else original.stream,
            extensions={**original.extensions, **extensions},
        )


class _Stream(httpx.AsyncByteStream):
    """A stream of one attempt, which redirects and authentication can need more than once."""

    def __init__(self, content: Content, last_status: Callable[[], object]) -> None:
        self._content = content
        self._last_status = last_status
        self._is_sent = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._is_sent and not self._content.is_repeatable:
            raise sent_once(self._last_status())
        self._is_sent = True
        content = self._content.again()
        if hasattr(content, "__aiter__"):
            async for chunk in content:
                yield chunk
            return
        chunks = iter(partial(content.read, _CHUNK), b"") if hasattr(content, "read") else iter(content)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:  # can block
            yield chunk
