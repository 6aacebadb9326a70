"""Keep a worker's consumer from waiting for its broker without limit.

py-amqp has no limit for the answer of a broker, for the rest of a frame, and for a write. If a broker is silent, the
worker runs, consumes nothing, and holds the messages that RabbitMQ still sends to it. A thread of this module shuts the
socket down, and Celery reconnects as after any other error of its connection.

Only reads and writes in the consumer's thread are timed, not what Celery does between them: it can execute a task
there, or wait for a free slot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from livecheck_celery.utils.native import native
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

#: Seconds after which a read or a write is blocked. Between messages, Celery reads for 2 s at most.
BLOCKED_AFTER: Final = 20.0
_TICK: Final = 1.0
#: A method of Celery's consumer.
_RESTORE: Final = "_restore_prefetch_count_after_connection_restart"


class BrokerWatch:
    """The reads and writes of a consumer's connections that have not returned; made in the consumer's thread.

    Args:
        consumer: the consumer of a Celery worker, before it connects.
    """

    def __init__(self, consumer: Any) -> None:
        self._thread_id = native("_thread", "get_ident")
        self._thread = self._thread_id()
        self._lock = native("_thread", "RLock")()  # a signal handler can use the broker, too
        self._calls: dict[object, tuple[float, Any]] = {}
        self._throttle = Throttle()
        connect = consumer.ensure_connected

        def ensure_connected(connection: Any) -> Any:
            connected = connect(connection)
            if connected.transport.driver_name == "py-amqp":
                self.time_calls(connected.connection)
            return connected

        consumer.ensure_connected = ensure_connected
        _restore_prefetch_count_in_loop(consumer)

    def start(self) -> None:
        """Start the thread, which runs as long as the process."""
        native("_thread", "start_new_thread")(self._run, ())

    def time_calls(self, connection: Any) -> None:
        """Time the reads and writes of a connection of py-amqp."""
        transport = connection.transport
        transport.read_frame = self._timed(transport.read_frame, transport)
        connection.frame_writer = self._timed(connection.frame_writer, transport)

    def close_blocked(self, after: float) -> None:
        """Shut down the socket of each call that was begun more than ``after`` seconds ago."""
        with self._lock:  # no call returns meanwhile, so the socket is not closed, and its number not used again
            now = time.monotonic()
            blocked = {call: transport for call, (begun, transport) in self._calls.items() if now - begun > after}
            for call, transport in blocked.items():
                del self._calls[call]
                _shut_down(transport.sock)
        if blocked and self._throttle("blocked"):
            logger.warning("broker: no answer for %g s; closing the connection for Celery to reconnect", after)

    def _timed(self, function: Callable[..., Any], transport: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._thread_id() != self._thread:
                return function(*args, **kwargs)
            key = object()
            with self._lock:
                self._calls[key] = (time.monotonic(), transport)
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self._calls.pop(key, None)

        return call

    def _run(self) -> None:
        sleep = native("time", "sleep")
        while True:
            sleep(_TICK)
            self.close_blocked(BLOCKED_AFTER)


def _restore_prefetch_count_in_loop(consumer: Any) -> None:
    """Have the consumer's thread restore the prefetch count after a reconnect, with no other reader of its socket.

    Celery does so in the thread or greenlet that starts a task. Two readers of one socket take parts of each other's
    frames; py-amqp then waits for the rest of a frame that never was.
    """
    restore = getattr(consumer, _RESTORE, None)
    if restore is None:
        return

    def restore_unless_disconnected(*args: Any) -> None:
        with suppress(*consumer.connection_errors):  # the consumer's next read raises it, too
            restore(*args)

    setattr(consumer, _RESTORE, lambda *args: consumer.call_soon(restore_unless_disconnected, *args))


def _shut_down(sock: Any) -> None:
    """Shut down a socket, whether its reads and writes are TLS or gevent's, which only its own thread can use."""
    with suppress(OSError, AttributeError):  # it is closed
        plain = native("socket", "socket")(fileno=os.dup(sock.fileno()))
        with plain:
            plain.shutdown(native("socket", "SHUT_RDWR"))
