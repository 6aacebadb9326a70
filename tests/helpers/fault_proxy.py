"""A TCP proxy that does to a connection what networks and dying servers do, at the moment a test wants it.

Stands between a client and a server. What it is told holds at once, for the connections that are open as for those to
come, until it is told otherwise. It keeps its port from beginning to end, also while it refuses, so that nobody else
gets it meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"

_CHUNK: Final = 64 * 1024
_BACKLOG: Final = 128
#: Connection attempts that fill a backlog of nothing; the system then leaves further ones without an answer.
_FILLERS: Final = 4
#: Closing a socket that lingers for no time sends RST instead of FIN.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_PATIENCE: Final = 10.0


@dataclass(eq=False)
class _Link:
    """One client's connection, and the one made to the server for it."""

    client: socket.socket
    server: socket.socket
    #: Bytes that may still go to the client before the connection is cut; None for any number.
    left: int | None
    task: asyncio.Task[None] = field(init=False)

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def no_farewell(self) -> None:
        """Have its end be a RST."""
        for end in (self.client, self.server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


class FaultProxy:
    """Passes bytes between its port and ``upstream``, until told otherwise; a context manager.

    Bytes that are held are not lost: they go on their way after `heal`, as TCP's own would.

    Attributes:
        port: where clients connect, on ``127.0.0.1``.
        upstream: host and port of the server; new connections go there, so it may be changed.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self._place = _socket_on(0)
        self.port: int = self._place.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._fillers = ExitStack()
        self._to_server = asyncio.Event()
        self._to_client = asyncio.Event()
        self._cut_after: int | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()
        self._place.close()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    # -- what it can be told

    def heal(self) -> None:
        """Pass everything, and send on what was held."""
        self._do(self._heal)

    def refuse(self) -> None:
        """End all connections and close the port, as when the server's process is gone."""
        self._do(self._refuse)

    def reset(self) -> None:
        """Break off all connections with RST, both ways; new ones are none the worse."""
        self._do(self._reset)

    def stall(self) -> None:
        """Accept connections and move no byte on any, as a frozen server does."""
        self._do(self._hold, True, True)

    def half_open(self) -> None:
        """Bring the server all that clients say, and clients nothing."""
        self._do(self._hold, False, True)

    def black_hole(self) -> None:
        """Answer nothing, not even an attempt to connect, as a firewall that drops packets."""
        self._do(self._black_hole)

    def truncate(self, after: int) -> None:
        """Cut each connection when ``after`` bytes more have gone to its client."""
        self._do(self._truncate, after)

    # -- on the loop's thread

    def _do(self, act: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        asyncio.run_coroutine_threadsafe(act(*args), self._loop).result(_PATIENCE)

    async def _heal(self) -> None:
        self._cut_after = None
        for link in self._links:
            link.left = None
        await self._hold(False, False)

    async def _hold(self, to_server: bool, to_client: bool) -> None:
        for gate, held in ((self._to_server, to_server), (self._to_client, to_client)):
            if held:
                gate.clear()
            else:
                gate.set()
        self._fillers.close()
        if self._listener is None:
            self._listener = _socket_on(self.port)
        self._listener.listen(_BACKLOG)
        if self._accepting is None:
            self._accepting = self._loop.create_task(self._accept(self._listener))

    async def _refuse(self) -> None:
        await self._stop_accepting()
        self._fillers.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._end_links(reset=False)

    async def _reset(self) -> None:
        await self._end_links(reset=True)

    async def _black_hole(self) -> None:
        await self._hold(True, True)
        await self._stop_accepting()
        assert self._listener is not None
        self._listener.listen(0)
        for _ in range(_FILLERS):
            filler = self._fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((HOST, self.port))

    async def _truncate(self, after: int) -> None:
        self._cut_after = after
        for link in self._links:
            link.left = after
        await self._hold(False, False)

    async def _stop_accepting(self) -> None:
        task, self._accepting = self._accepting, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _end_links(self, *, reset: bool) -> None:
        links = list(self._links)
        for link in links:
            if reset:
                link.no_farewell()
            link.task.cancel()
        for link in links:
            await asyncio.wait([link.task])
            link.close()  # a task that was cancelled before it began has not
            self._links.discard(link)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            server = socket.socket()
            server.setblocking(False)
            link = _Link(client, server, self._cut_after)
            self._links.add(link)
            link.task = self._loop.create_task(self._carry(link))

    async def _carry(self, link: _Link) -> None:
        try:
            await self._loop.sock_connect(link.server, self.upstream)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._bring(link))
                both.create_task(self._bring_back(link))
        except* OSError:
            link.no_farewell()
        finally:
            link.close()
            self._links.discard(link)

    async def _bring(self, link: _Link) -> None:
        while data := await self._loop.sock_recv(link.client, _CHUNK):
            await self._to_server.wait()
            await self._loop.sock_sendall(link.server, data)
        await self._to_server.wait()
        link.server.shutdown(socket.SHUT_WR)

    async def _bring_back(self, link: _Link) -> None:
        while data := await self._loop.sock_recv(link.server, _CHUNK):
            await self._to_client.wait()
            if link.left is not None:
                data = data[: link.left]
                link.left -= len(data)
            await self._loop.sock_sendall(link.client, data)
            if link.left == 0:
                link.task.cancel()
        await self._to_client.wait()
        link.client.shutdown(socket.SHUT_WR)


def _socket_on(port: int) -> socket.socket:
    """A socket on ``port`` that shares it with others of its kind; 0 for a port of the system's choosing."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.setblocking(False)
    one.bind((HOST, port))
    return one
