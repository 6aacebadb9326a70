"""Network I/O is found in the calling thread, and only there."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.no_network import no_network_io

Pair = tuple[socket.socket, socket.socket]
EPOLL = select.epoll()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of an open connection, with bytes to read at each."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"hello")
        other.sendall(b"hello")
        yield one, other


USES: dict[str, Callable[[Pair], object]] = {
    "make": lambda _: socket.socket().close(),
    "connect": lambda pair: pair[0].connect_ex("/nowhere"),
    "look up": lambda _: socket.getaddrinfo("localhost", 80),
    "send": lambda pair: pair[0].send(b"x"),
    "sendall": lambda pair: pair[0].sendall(b"x"),
    "recv": lambda pair: pair[0].recv(1),
    "read a file of it": lambda pair: pair[0].makefile("rb").read(1),
    "wait for it": lambda pair: select.select([pair[0]], [], [], 0),
    "poll for it": lambda _: select.poll().poll(0),
    "epoll for it": lambda _: EPOLL.poll(0),
    "close": lambda pair: pair[0].close(),
    "sleep": lambda _: time.sleep(0),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_network_io_of_this_thread_is_found(use: Callable[[Pair], object], pair: Pair) -> None:
    with pytest.raises(AssertionError, match="on the calling thread: "), no_network_io():
        use(pair)


def test_other_threads_and_later_code_may_use_the_network(pair: Pair) -> None:
    with no_network_io():
        thread = threading.Thread(target=pair[0].sendall, args=(b"x",))
        thread.start()
        thread.join()
    pair[0].sendall(b"x")


def test_code_without_network_io_passes() -> None:
    with no_network_io():
        sorted(range(10))
        threading.Event().wait(0)


def test_poller_may_forget_a_descriptor_as_one_that_is_garbage_does(pair: Pair) -> None:
    poller = select.epoll()
    poller.register(pair[0])
    with no_network_io():
        poller.unregister(pair[0].fileno())
        poller.close()
