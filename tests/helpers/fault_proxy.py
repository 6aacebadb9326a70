"""A TCP proxy that injects faults between a client and a server.

A fault applies at once, to open and to new connections, until the next fault or `FaultProxy.heal`. The proxy reserves
its port for its whole life, even while it refuses connections.
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
#: Connections that fill a backlog of 0; the system then leaves further attempts unanswered.
_FILLERS: Final = 4
#: With this, closing a socket sends RST instead of FIN.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_TIMEOUT: Final = 10.0


@dataclass(eq=False)
class _Link:
    """The connection of a client, and its connection to the server."""

    client: socket.socket
    server: socket.socket
    #: Bytes to pass to the client before the connection is cut; None for no limit.
    remaining: int | None
    task: asyncio.Task[None] = field(init=False)

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def reset_on_close(self) -> None:
        """Have `close` send RST."""
        for end in (self.client, self.server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


class FaultProxy:
    """Passes bytes between its port and ``upstream``, unless a fault is set; a context manager.

    Bytes that are held back are passed after `heal`, as TCP would retransmit them.

    Attributes:
        port: for clients, on ``127.0.0.1``.
        upstream: host and port of the server; can be changed for new connections.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self._reserved = _socket_on(0)
        self.port: int = self._reserved.getsockname()[1]
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
        self._thread.join(_TIMEOUT)
        self._loop.close()
        self._reserved.close()

    @property
    def connections(self) -> int:
        """Number of connected clients."""
        return len(self._links)

    # -- faults

    def heal(self) -> None:
        """Remove the fault, and pass the bytes that were held back."""
        self._do(self._heal)

    def refuse(self) -> None:
        """Close all connections and refuse new ones, as if the server's process had exited."""
        self._do(self._refuse)

    def reset(self) -> None:
        """Reset all open connections, on both sides; pass new ones."""
        self._do(self._reset)

    def stall(self) -> None:
        """Accept connections, but pass no byte, as if the server were frozen."""
        self._do(self._hold, True, True)

    def half_open(self) -> None:
        """Pass bytes to the server, but none to clients."""
        self._do(self._hold, False, True)

    def black_hole(self) -> None:
        """Drop everything, attempts to connect included, as a firewall would."""
        self._do(self._black_hole)

    def truncate(self, after: int) -> None:
        """Cut each connection after ``after`` more bytes to its client."""
        self._do(self._truncate, after)

    # -- in the thread of the event loop

    def _do(self, act: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        asyncio.run_coroutine_threadsafe(act(*args), self._loop).result(_TIMEOUT)

    async def _heal(self) -> None:
        self._cut_after = None
        for link in self._links:
            link.remaining = None
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
            link.remaining = after
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
                link.reset_on_close()
            link.task.cancel()
        for link in links:
            await asyncio.wait([link.task])
            link.close()  # for a task that was cancelled before it started
            self._links.discard(link)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            server = socket.socket()
            server.setblocking(False)
            link = _Link(client, server, self._cut_after)
            self._links.add(link)
            link.task = self._loop.create_task(self._run_link(link))

    async def _run_link(self, link: _Link) -> None:
        try:
            await self._loop.sock_connect(link.server, self.upstream)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_to_server(link))
                both.create_task(self._pass_to_client(link))
        except* OSError:
            link.reset_on_close()
        finally:
            link.close()
            self._links.discard(link)

    async def _pass_to_server(self, link: _Link) -> None:
        while data := await self._loop.sock_recv(link.client, _CHUNK):
            await self._to_server.wait()
            await self._loop.sock_sendall(link.server, data)
        await self._to_server.wait()
        link.server.shutdown(socket.SHUT_WR)

    async def _pass_to_client(self, link: _Link) -> None:
        while data := await self._loop.sock_recv(link.server, _CHUNK):
            await self._to_client.wait()
            if link.remaining is not None:
                data = data[: link.remaining]
                link.remaining -= len(data)
            await self._loop.sock_sendall(link.client, data)
            if link.remaining == 0:
                link.task.cancel()
        await self._to_client.wait()
        link.client.shutdown(socket.SHUT_WR)


def _socket_on(port: int) -> socket.socket:
    """Bind a socket to ``port``, which other such sockets can share; 0 for any free port."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.setblocking(False)
    one.bind((HOST, port))
    return one
