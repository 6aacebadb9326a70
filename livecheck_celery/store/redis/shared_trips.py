"""Round trips to Redis that the threads of a process share.

A worker's threads claim tests and record verdicts, each for itself. While the commands of one thread are on their way,
those of the others are collected; they are the next round trip, which one of these threads makes.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import redis

from livecheck_celery.utils.forks import renew_after_fork

#: Commands of one round trip; more would delay the replies to its first ones.
MOST: Final = 200
#: Seconds that a command waits for those of other threads, whose connection has timeouts of its own.
_LONGEST: Final = 60.0


class _Command:
    """A command of one thread, until it has its reply."""

    __slots__ = ("error", "is_done", "owner", "packed", "reply", "woken")

    def __init__(self, packed: bytes, owner: int) -> None:
        self.packed = packed
        self.owner = owner
        self.is_done = False
        self.reply: Any = None
        self.error: Exception | None = None
        self.woken = threading.Lock()
        self.woken.acquire()

    def end(self, reply: Any, error: Exception | None = None) -> None:
        """Give its thread the reply, or an ``error`` instead."""
        self.reply, self.error, self.is_done = reply, error, True
        self.woken.release()

    def result(self) -> Any:
        """Return the reply.

        Raises:
            RedisError: it is an error, or there is none.
        """
        if self.error is not None:
            raise self.error
        return self.reply


class SharedTrips:
    """Sends commands by connections of ``pool``, one round trip at a time; safe to share between threads."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the commands of the parent's threads."""
        self._lock = threading.RLock()
        self._waiting: deque[_Command] = deque()
        self._sender: int | None = None

    def execute(self, *parts: str | float) -> Any:
        """Send a command, and return its reply.

        Raises:
            RedisError: Redis did not answer, or replied with this error.
            UnicodeEncodeError: a part is not a text that can be encoded; nothing was sent.
        """
        me = threading.get_ident()
        command = _Command(_packed(parts), me)
        if self._interrupts(me):
            self._send([command])
            return command.result()
        try:
            with self._lock:
                self._waiting.append(command)
                if self._sender is None:
                    self._appoint()
            if not command.woken.acquire(timeout=_LONGEST) and self._sender != me:
                raise redis.TimeoutError("the commands of other threads took too long")
            while not command.is_done:
                self._send(self._next())
            return command.result()
        finally:  # also after an exception that a signal handler has raised anywhere in it
            if self._sender == me or not command.is_done:
                self._leave(command)

    def _interrupts(self, me: int) -> bool:
        """Return whether a signal handler calls this, in a thread that sends or waits, and would wait for itself."""
        with self._lock:
            return self._sender == me or any(each.owner == me for each in self._waiting)

    def execute_all(self, commands: Iterable[Iterable[str | float]]) -> list[Any]:
        """Send commands in a round trip of their own, and return their replies; errors are replies.

        Raises:
            RedisError: Redis did not answer; it may have executed some.
            UnicodeEncodeError: a part is not a text that can be encoded; nothing was sent.
        """
        batch = [_Command(_packed(parts), 0) for parts in commands]
        self._send(batch)
        for command in batch:
            if command.error is not None and not isinstance(command.error, redis.ResponseError):
                raise command.error
        return [command.reply if command.error is None else command.error for command in batch]

    def _appoint(self) -> None:
        """Have the thread of the next command send it, with those behind it."""
        self._sender = self._waiting[0].owner
        self._waiting[0].woken.release()

    def _next(self) -> list[_Command]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST))]

    def _leave(self, command: _Command) -> None:
        with self._lock:
            if not command.is_done and command in self._waiting:
                self._waiting.remove(command)
            if self._sender == command.owner:
                self._sender = None
                if self._waiting:
                    self._appoint()

    def _send(self, batch: list[_Command]) -> None:
        connection = None
        error: Exception = redis.ConnectionError("interrupted")
        try:
            connection = self._pool.get_connection("EVALSHA")
            connection.send_packed_command([b"".join([command.packed for command in batch])])
            for command in batch:
                _read(connection, command)
        except redis.RedisError as exc:
            error = exc
        finally:
            if connection is not None:
                if not all(command.is_done for command in batch):
                    connection.disconnect()  # replies are left in it
                self._pool.release(connection)
            for command in batch:
                if not command.is_done:
                    command.end(None, _copy(error))


def _copy(error: Exception) -> Exception:
    """Return an error as ``error``: each thread adds its own traceback."""
    copied = copy.copy(error)
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    return copied


def _packed(parts: Iterable[str | float]) -> bytes:
    """Encode a command in Redis' protocol, in a fifth of the time that redis-py takes for one of 25 parts.

    Raises:
        UnicodeEncodeError: a part is not a text that can be encoded.
    """
    encoded = [str(part).encode("utf-8", "surrogateescape") for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join([b"$%d\r\n%b\r\n" % (len(each), each) for each in encoded])


def _read(connection: Any, command: _Command) -> None:
    try:
        command.end(connection.read_response())
    except redis.ResponseError as exc:
        command.end(None, exc)
