"""Acknowledgement of messages on Redis as a broker: not for tests that are recorded.

Kombu emulates acknowledgements there: it stores each message once more when it is received, and deletes that when it is
acknowledged; after an hour (``visibility_timeout``), it delivers the message again. The sweep re-sends a recorded test
long before. Its message is therefore only counted here, so that a worker has no more than its prefetch count.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kombu.transport import redis, virtual

from livecheck_celery.delivery.publisher import EXECUTE, TEST_KEYWORD
from livecheck_celery.tasks.own_task import JSON


def install(channel: Any) -> None:
    """Leave recorded tests to the sweep, instead of acknowledging their messages, if ``channel`` is one of Redis.

    Call it before the channel delivers a message.
    """
    qos: Any = getattr(channel, "qos", None)
    if type(qos) is redis.QoS:
        # In place, since Celery has changed the object: with worker_disable_prefetch, it replaces a method.
        vars(qos)["_recorded"] = {}
        qos.__class__ = LedgerQoS


class LedgerQoS(redis.QoS):
    """Counts the messages of recorded tests; acknowledges others as kombu does."""

    _recorded: dict[str, Any]

    def append(self, message: Any, delivery_tag: str) -> None:
        """Count a message that was received."""
        if not is_recorded(message):
            super().append(message, delivery_tag)
            return
        self._recorded[delivery_tag] = message
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Count it no more."""
        if self._recorded.pop(delivery_tag, None) is None:
            super().ack(delivery_tag)
        else:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Count it no more; return it to its queue if it is to be ``requeue``-d."""
        message = self._recorded.pop(delivery_tag, None)
        if message is None:
            super().reject(delivery_tag, requeue=requeue)
            return
        if requeue:  # behind others, as kombu does
            virtual.Channel._restore(self.channel, message)  # noqa: SLF001 - that of Redis expects the emulation
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> Any:
        """Return the messages to their queues, before those that wait there, when the worker stops."""
        recorded, self._recorded = self._recorded, {}
        delivered: Any = self._delivered
        for delivery_tag in recorded:
            delivered.pop(delivery_tag, None)
        # The broker can be gone, and kombu raises errors of any type then. The sweep sends the tests.
        with suppress(Exception):
            self._return(list(recorded.values()))
        return super().restore_unacked(client) if delivered else None

    def _return(self, messages: list[Any]) -> None:
        if not messages:
            return
        channel: Any = self.channel
        with channel.conn_or_acquire() as client:
            pipeline = client.pipeline()
            for message in reversed(messages):
                place = message.delivery_info
                channel._do_restore_message(message._raw, place["exchange"], place["routing_key"], pipeline)  # noqa: SLF001 - kombu's
            pipeline.execute()


def is_recorded(message: Any) -> bool:
    """Return whether a message is that of a test that was recorded when it was triggered."""
    headers = message.headers
    if not isinstance(headers, dict) or headers.get("task") != EXECUTE or message.content_type != JSON:
        return False
    try:
        _, keywords, _ = message.payload
        return keywords[TEST_KEYWORD]["recorded_at"] is not None
    except Exception:  # noqa: BLE001 - what others can put into a message; the message filter says what is wrong
        return False
