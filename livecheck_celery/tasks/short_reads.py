"""Have a consumer notice soon that it must stop.

Without an event loop, as on gevent, Celery notices that between two reads of its broker. A read without a message takes
2 s, Celery reads once more after it has noticed, and its remote control reads for 1 s: longer than the time in which a
worker must stop by itself.
"""

from __future__ import annotations

from typing import Any, Final

#: Seconds of one read.
READ_FOR: Final = 0.5


def shorten_reads(consumer: Any) -> None:
    """Limit the reads of the connections that ``consumer`` makes, before it makes one."""
    connect = consumer.ensure_connected

    def ensure_connected(connection: Any) -> Any:
        connected = connect(connection)
        drain = connected.drain_events

        def drain_events(timeout: float | None = None, **options: Any) -> Any:
            return drain(timeout=timeout and min(timeout, READ_FOR), **options)

        connected.drain_events = drain_events
        return connected

    consumer.ensure_connected = ensure_connected
