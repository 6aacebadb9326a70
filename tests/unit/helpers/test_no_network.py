"""The watch over sockets on the calling thread sees each way of touching one, and no other thread's."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.no_network import no_socket_is_touched

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of an open connection, with something to read on each."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"hello")
        other.sendall(b"hello")
        yield one, other


TOUCHES: dict[str, Callable[[Pair], object]] = {
    "make": lambda _: socket.socket().close(),
    "connect": lambda pair: pair[0].connect_ex("/nowhere"),
    "look up": lambda _: socket.getaddrinfo("localhost", 80),
    "send": lambda pair: pair[0].send(b"x"),
    "sendall": lambda pair: pair[0].sendall(b"x"),
    "recv": lambda pair: pair[0].recv(1),
    "read a file of it": lambda pair: pair[0].makefile("rb").read(1),
    "wait for it": lambda pair: select.select([pair[0]], [], [], 0),
    "close": lambda pair: pair[0].close(),
    "sleep": lambda _: time.sleep(0),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
def test_it_is_seen_on_this_thread(touch: Callable[[Pair], object], pair: Pair) -> None:
    with pytest.raises(AssertionError, match="on the calling thread: "), no_socket_is_touched():
        touch(pair)


def test_it_is_not_seen_on_another_thread_nor_afterwards(pair: Pair) -> None:
    with no_socket_is_touched():
        thread = threading.Thread(target=pair[0].sendall, args=(b"x",))
        thread.start()
        thread.join()
    pair[0].sendall(b"x")


def test_code_that_touches_none_passes() -> None:
    with no_socket_is_touched():
        sorted(range(10))
        threading.Event().wait(0)
