"""Each fault of the proxy applies to open and to new connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from tests.helpers.fault_proxy import HOST, FaultProxy
from tests.helpers.waiting import wait_until

SHORT = 0.1


class Echo(ThreadingTCPServer):
    """Sends back the bytes it receives, and keeps them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Handler)
        self.received = b""
        self.ended: list[str] = []


class Handler(BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        try:
            while data := self.request.recv(1024):
                self.server.received += data
                self.request.sendall(data)
        except ConnectionResetError:
            self.server.ended.append("reset")
        else:
            self.server.ended.append("closed")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy((HOST, echo.server_address[1])) as proxy:
        yield proxy


def connect(proxy: FaultProxy, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=timeout)


def ask(client: socket.socket, text: bytes = b"ping") -> bytes:
    client.sendall(text)
    return client.recv(1024)


def is_silent(client: socket.socket) -> bool:
    client.settimeout(SHORT)
    with suppress(TimeoutError):
        client.recv(1024)
        return False
    client.settimeout(5.0)
    return True


def test_bytes_and_the_end_of_a_connection_are_passed(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as client, connect(proxy) as other:
        assert (ask(client), ask(other, b"pong")) == (b"ping", b"pong")
        assert proxy.connections == 2
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert ask(other) == b"ping"
    wait_until(lambda: proxy.connections == 0, what="the end of both connections")
    assert echo.ended == ["closed", "closed"]


def test_more_bytes_than_a_buffer_are_passed(proxy: FaultProxy, echo: Echo) -> None:
    sent = b"x" * 300_000
    with connect(proxy) as client:
        threading.Thread(target=client.sendall, args=(sent,)).start()
        got = 0
        while got < len(sent):
            got += len(client.recv(65536))
    assert echo.received == sent


def test_refuse_closes_open_connections_and_keeps_the_port(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"ping"
        proxy.refuse()
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, proxy.port))
    proxy.heal()
    with connect(proxy) as client:
        assert ask(client) == b"ping"


def test_stall_holds_back_bytes_until_heal(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as warm:
        assert ask(warm) == b"ping"
        proxy.stall()
        with connect(proxy) as cold:
            warm.sendall(b"1")
            cold.sendall(b"2")
            assert is_silent(warm)
            assert is_silent(cold)
            assert echo.received == b"ping"
            proxy.heal()
            assert (warm.recv(9), cold.recv(9)) == (b"1", b"2")


def test_black_hole_does_not_answer_attempts_to_connect(proxy: FaultProxy) -> None:
    with connect(proxy) as warm:
        assert ask(warm) == b"ping"
        proxy.black_hole()
        with pytest.raises(TimeoutError):
            connect(proxy, SHORT)
        warm.sendall(b"1")
        assert is_silent(warm)
        proxy.heal()
        assert warm.recv(9) == b"1"
        with connect(proxy) as cold:
            assert ask(cold) == b"ping"


def test_half_open_passes_bytes_to_the_server_only(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"ping"
        proxy.half_open()
        client.sendall(b"1")
        wait_until(lambda: echo.received == b"ping1", what="the server to receive it")
        assert is_silent(client)
        proxy.heal()
        assert client.recv(9) == b"1"


def test_truncate_cuts_each_connection_after_that_many_bytes(proxy: FaultProxy) -> None:
    with connect(proxy) as warm:
        assert ask(warm) == b"ping"
        proxy.truncate(after=6)
        assert ask(warm) == b"ping"
        assert ask(warm) == b"pi"
        with suppress(ConnectionResetError):
            assert warm.recv(9) == b""
    with connect(proxy) as cold:
        assert ask(cold, b"a longer one") == b"a long"
    proxy.heal()
    with connect(proxy) as client:
        assert ask(client, b"a longer one") == b"a longer one"


def test_reset_resets_open_connections_only(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"ping"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    wait_until(lambda: echo.ended == ["reset"], what="a reset at the server")
    with connect(proxy) as client:
        assert ask(client) == b"ping"


def test_faults_can_follow_each_other(proxy: FaultProxy) -> None:
    for fault in (proxy.black_hole, proxy.refuse, proxy.stall, proxy.black_hole, proxy.reset, proxy.half_open):
        fault()
    proxy.heal()
    with connect(proxy) as client:
        assert ask(client) == b"ping"


def test_connection_is_reset_if_the_server_is_away(proxy: FaultProxy, echo: Echo) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        proxy.upstream = unused.getsockname()
        with pytest.raises(ConnectionResetError), connect(proxy) as client:
            ask(client)
    proxy.upstream = (HOST, echo.server_address[1])
    with connect(proxy) as client:
        assert ask(client) == b"ping"
