"""A consumer that waits for a silent broker gets an error, and reads its socket in one thread only."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.transport import TCPTransport
from celery.worker.consumer import Consumer

from livecheck_celery.tasks.broker_watch import BrokerWatch
from tests.helpers.waiting import wait_until

HOST = "127.0.0.1"
HEADER = pack(">BHI", 1, 1, 100)


class Wire:
    """A connection of py-amqp to a broker that never answers, and the watch of its consumer."""

    def __init__(self, listener: socket.socket) -> None:
        self.transport = TCPTransport(f"{HOST}:{listener.getsockname()[1]}", connect_timeout=5)
        self.transport.connect()
        self.broker, _ = listener.accept()
        writer = lambda: self.transport.write(bytes(1 << 26))  # noqa: E731 - more than the buffers of a socket
        self.connection = SimpleNamespace(transport=self.transport, frame_writer=writer)
        connected = SimpleNamespace(connection=self.connection, transport=SimpleNamespace(driver_name="py-amqp"))
        self.consumer: Any = SimpleNamespace(ensure_connected=lambda _: connected)
        self.watch = BrokerWatch(self.consumer)
        assert self.consumer.ensure_connected(None) is connected

    def read(self) -> None:
        self.transport.read_frame()

    def read_the_rest_of_a_frame(self) -> None:
        self.broker.sendall(HEADER)
        wait_until(lambda: len(self.transport.sock.recv(7, socket.MSG_PEEK)) == len(HEADER), what="the header")
        with self.transport.having_timeout(0):  # as Celery's event loop does
            self.transport.read_frame()

    def write(self) -> None:
        self.connection.frame_writer()

    def close(self) -> None:
        self.transport.close()
        self.broker.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with socket.create_server((HOST, 0)) as listener:
        wire = Wire(listener)
        yield wire
        wire.close()


@pytest.mark.parametrize("call", [Wire.read, Wire.read_the_rest_of_a_frame, Wire.write])
def test_blocked_call_ends_with_an_error_of_its_connection(wire: Wire, call: Callable[[Wire], None]) -> None:
    ended = threading.Event()

    def close_blocked() -> None:
        while not ended.wait(0.05):
            wire.watch.close_blocked(after=0.2)

    thread = threading.Thread(target=close_blocked)
    thread.start()
    try:
        with pytest.raises(OSError):
            call(wire)
    finally:
        ended.set()
        thread.join()


def test_call_that_is_not_blocked_leaves_the_socket_open(wire: Wire) -> None:
    frame = HEADER + bytes(100) + b"\xce"
    wire.broker.sendall(frame)
    wire.read()
    wire.watch.close_blocked(after=0.0)
    wire.broker.sendall(frame)
    wire.read()


def test_calls_of_other_threads_are_left_alone(wire: Wire) -> None:
    begun = threading.Event()

    def read() -> None:
        begun.set()
        wire.read()

    thread = threading.Thread(target=read)
    thread.start()
    begun.wait(5)
    wire.watch.close_blocked(after=0.0)
    wire.broker.sendall(HEADER + bytes(100) + b"\xce")
    thread.join(5)
    assert not thread.is_alive()
    assert wire.transport.connected


def test_connections_of_other_brokers_are_left_alone() -> None:
    connected = SimpleNamespace(transport=SimpleNamespace(driver_name="redis"))
    consumer: Any = SimpleNamespace(ensure_connected=lambda _: connected)
    BrokerWatch(consumer)
    assert consumer.ensure_connected(None) is connected


def test_prefetch_count_is_restored_by_the_consumers_loop() -> None:
    """Celery does so in a thread of the pool, and two threads that read one socket share its frames."""
    assert hasattr(Consumer, "_restore_prefetch_count_after_connection_restart")
    soon: list[tuple[Any, ...]] = []
    restored: list[object] = []

    def restore(ack: object) -> None:
        restored.append(ack)
        raise BrokenPipeError

    consumer: Any = SimpleNamespace(
        ensure_connected=None,
        connection_errors=(OSError,),
        call_soon=lambda *call: soon.append(call),
        _restore_prefetch_count_after_connection_restart=restore,
    )
    BrokerWatch(consumer)
    consumer._restore_prefetch_count_after_connection_restart("ack")
    assert restored == []
    [(call, *args)] = soon
    call(*args)  # a broken connection is no error of its own
    assert restored == ["ack"]
