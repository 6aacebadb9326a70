"""Commands of several threads in one round trip."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Connection

from livecheck_celery.store.redis import shared_trips
from livecheck_celery.store.redis.shared_trips import SharedTrips
from tests.helpers.waiting import wait_until


class Server:
    """A pool of one connection, and its server, which replies to each command with its last part.

    Attributes:
        trips: the commands of each round trip.
        before: called before a round trip.
        replies: what it replies to a command instead; exceptions are raised.
        disconnected: how often the connection was closed.
    """

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.before: Callable[[], object] = lambda: None
        self.replies: dict[str, Any] = {}
        self.disconnected = 0
        self.taken = 0
        self._left: list[str] = []

    def get_connection(self, _: str) -> Server:
        self.taken += 1
        self.before()
        return self

    def release(self, _: Server) -> None:
        self.taken -= 1

    def send_packed_command(self, parts: list[bytes]) -> None:
        sent = [command.split("\r\n")[-2] for command in b"".join(parts).decode().split("*")[1:]]
        self.trips.append(sent)
        self._left = list(sent)

    def read_response(self) -> Any:
        command = self._left.pop(0)
        reply = self.replies.get(command, command)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def disconnect(self) -> None:
        self.disconnected += 1


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def trips(server: Server) -> SharedTrips:
    return SharedTrips(server)


def together(server: Server, trips: SharedTrips, names: list[str]) -> list[Future[Any]]:
    """Have each of ``names`` sent by a thread, all but the first while that one is on its way; return the outcomes."""
    on_its_way, go = threading.Event(), threading.Event()

    def block() -> None:
        server.before = lambda: None
        on_its_way.set()
        assert go.wait(5)

    server.before = block
    with ThreadPoolExecutor(len(names)) as pool:
        first, *others = names
        outcomes = [pool.submit(trips.execute, "PING", first)]
        assert on_its_way.wait(5)
        for number, name in enumerate(others, start=1):
            outcomes.append(pool.submit(trips.execute, "PING", name))
            wait_until(lambda number=number: len(trips._waiting) == number, what="the command waits")
        go.set()
        return outcomes


def test_command_that_comes_alone_is_a_round_trip_of_its_own(server: Server, trips: SharedTrips) -> None:
    assert [trips.execute("PING", name) for name in ("a", "b")] == ["a", "b"]
    assert server.trips == [["a"], ["b"]]
    assert server.taken == 0


def test_commands_that_come_meanwhile_share_the_next_round_trip(server: Server, trips: SharedTrips) -> None:
    outcomes = together(server, trips, ["a", "b", "c", "d"])
    assert [each.result() for each in outcomes] == ["a", "b", "c", "d"]
    assert server.trips == [["a"], ["b", "c", "d"]]


def test_a_round_trip_has_a_maximum(server: Server, trips: SharedTrips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_trips, "MOST", 2)
    outcomes = together(server, trips, ["a", "b", "c", "d", "e", "f"])
    assert [each.result() for each in outcomes] == ["a", "b", "c", "d", "e", "f"]
    assert server.trips == [["a"], ["b", "c"], ["d", "e"], ["f"]]


def test_error_reply_is_that_of_its_command_alone(server: Server, trips: SharedTrips) -> None:
    server.replies["c"] = redis.ResponseError("WRONGTYPE")
    a, b, c, d = together(server, trips, ["a", "b", "c", "d"])
    assert [a.result(), b.result(), d.result()] == ["a", "b", "d"]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        c.result()
    assert server.disconnected == 0


@pytest.mark.parametrize("error", [redis.ConnectionError("reset"), redis.TimeoutError("timed out")])
def test_broken_connection_fails_the_commands_without_a_reply_each_with_an_error_of_its_own(
    server: Server, trips: SharedTrips, error: redis.RedisError
) -> None:
    error.livecheck_not_sent = True  # type: ignore[attr-defined] # as the pool notes
    error.__cause__ = OSError(111, "Connection refused")
    server.replies["c"] = error
    a, b, c, d = together(server, trips, ["a", "b", "c", "d"])
    assert [a.result(), b.result()] == ["a", "b"]
    errors: list[Any] = [each.exception() for each in (c, d)]
    assert [(type(each), str(each)) for each in errors] == [(type(error), str(error))] * 2
    assert all(each.livecheck_not_sent and each.__cause__ is error.__cause__ for each in errors)
    assert errors[0] is not errors[1]
    assert (server.disconnected, server.taken) == (1, 0)
    assert trips.execute("PING", "e") == "e"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(), ValueError("unexpected")])
def test_interrupted_sender_leaves_the_others_with_an_error_that_they_can_retry(
    server: Server, trips: SharedTrips, interruption: BaseException
) -> None:
    server.replies["b"] = interruption
    _, b, c = together(server, trips, ["a", "b", "c"])
    assert b.exception() is interruption
    assert isinstance(c.exception(), redis.ConnectionError)
    assert trips.execute("PING", "d") == "d"


def test_interrupted_sender_has_another_thread_send(server: Server, trips: SharedTrips) -> None:
    """Without that, all threads would wait for one that does not send any more."""
    first = True

    def interrupt() -> None:
        nonlocal first
        if first:
            first = False
            wait_until(lambda: len(trips._waiting) == 2, what="two commands wait")
            raise KeyboardInterrupt

    server.before = interrupt
    with ThreadPoolExecutor(3) as pool:
        interrupted = pool.submit(trips.execute, "PING", "a")
        wait_until(lambda: trips._sender is not None and not trips._waiting, what="the first is being sent")
        others = [pool.submit(trips.execute, "PING", name) for name in ("b", "c")]
        assert [each.result(5) for each in others] == ["b", "c"]
        assert isinstance(interrupted.exception(5), KeyboardInterrupt)
    assert trips._sender is None


def test_interrupted_thread_that_waits_takes_its_command_back(
    server: Server, trips: SharedTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_trips, "_LONGEST", 0.05)
    on_its_way, go = threading.Event(), threading.Event()

    def block() -> None:
        on_its_way.set()
        assert go.wait(5)

    server.before = block
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(trips.execute, "PING", "a")
        assert on_its_way.wait(5)
        with pytest.raises(redis.TimeoutError, match="other threads"):
            trips.execute("PING", "b")
        go.set()
        assert first.result(5) == "a"
    assert trips.execute("PING", "c") == "c"
    assert server.trips == [["a"], ["c"]]


def test_signal_handler_can_send_while_its_thread_does(server: Server, trips: SharedTrips) -> None:
    def handle() -> None:
        server.before = lambda: None
        assert trips.execute("PING", "handler") == "handler"

    server.before = handle
    assert trips.execute("PING", "a") == "a"
    assert server.trips == [["handler"], ["a"]]


def test_signal_handler_can_send_while_its_thread_waits(server: Server, trips: SharedTrips) -> None:
    mine = shared_trips._Command(b"", threading.get_ident())
    trips._sender = -1  # another thread
    trips._waiting.append(mine)
    assert trips.execute("PING", "handler") == "handler"
    assert list(trips._waiting) == [mine]


def test_commands_of_one_thread_are_a_round_trip_of_their_own(server: Server, trips: SharedTrips) -> None:
    error = server.replies["b"] = redis.ResponseError("WRONGTYPE")
    assert trips.execute_all([("PING", "a"), ("PING", "b"), ("PING", "c")]) == ["a", error, "c"]
    server.replies["b"] = redis.TimeoutError("timed out")
    with pytest.raises(redis.TimeoutError, match="timed out"):
        trips.execute_all([("PING", "a"), ("PING", "b"), ("PING", "c")])
    assert (server.disconnected, server.taken) == (1, 0)
    with pytest.raises(UnicodeEncodeError):
        trips.execute_all([("PING", "a"), ("PING", "\ud800")])
    assert len(server.trips) == 2


def test_command_that_cannot_be_encoded_fails_alone(server: Server, trips: SharedTrips) -> None:
    with pytest.raises(UnicodeEncodeError):
        trips.execute("PING", "\ud800")
    assert server.trips == []
    assert trips.execute("PING", "a") == "a"


def test_child_has_none_of_the_commands_of_its_parent(server: Server, trips: SharedTrips) -> None:
    def fork() -> None:
        server.before = lambda: None
        trips.after_fork()
        assert trips.execute("PING", "child") == "child"

    server.before = fork
    trips.execute("PING", "a")
    assert trips._sender is None


PARTS = st.lists(st.text(st.characters(codec="utf-8")) | st.integers() | st.floats(allow_nan=False))


@given(PARTS)
def test_commands_are_encoded_as_redis_py_does(parts: list[str | float]) -> None:
    command = ["EVALSHA", *parts]
    assert shared_trips._packed(command) == b"".join(Connection(protocol=2).pack_command(*command))
