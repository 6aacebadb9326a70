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
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)


def install(channel: Any) -> None:
    """Leave recorded tests to the sweep, instead of acknowledging their messages, if ``channel`` is one of Redis.

    Call it before the channel delivers a message.
    """
    if type(getattr(channel, "qos", None)) is redis.QoS:
        channel._qos = LedgerQoS(channel, channel.qos.prefetch_count)  # noqa: SLF001 - kombu makes it on first use


class LedgerQoS(redis.QoS):
    """Counts the messages of recorded tests; acknowledges others as kombu does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._recorded: dict[str, Any] = {}
        super().__init__(*args, **options)

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
        if requeue:
            _return(self.channel, message)
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> Any:
        """Return the messages to their queues, when the worker stops."""
        recorded, self._recorded = self._recorded, {}
        delivered: Any = self._delivered
        for delivery_tag, message in recorded.items():
            delivered.pop(delivery_tag, None)
            # The broker can be gone, and kombu raises errors of any type then. The sweep sends the test.
            with suppress(Exception):
                _return(message.channel, message)
        return super().restore_unacked(client) if delivered else None


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


def _return(channel: Any, message: Any) -> None:
    """Return a message to its queue, as kombu does with ``ack_emulation=False``."""
    virtual.Channel._restore(channel, message)  # noqa: SLF001 - that of a subclass expects the emulation
