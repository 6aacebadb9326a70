"""What older versions of the dependencies lack; detected by feature, never by version number."""

from __future__ import annotations

import socket
from base64 import urlsafe_b64decode
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, Final

from celery.utils.dispatch import Signal
from pydantic import ConfigDict, TypeAdapter
from pydantic_core import SchemaValidator, core_schema

_IP: Final = (IPv4Address, IPv4Network, IPv4Interface, IPv6Address, IPv6Network, IPv6Interface)
_CAN_VALIDATE_BASE64: Final = "val_json_bytes" in ConfigDict.__annotations__
#: Parts of a schema with a configuration of their own.
_OWN_CONFIG: Final = frozenset({"model", "dataclass"})


def connect_method(signal: Any, method: Callable[..., Any], **options: Any) -> None:
    """Connect a bound method to a signal of Celery.

    Celery before 5.7 takes the same method of two objects for one receiver, and ignores the second.
    """
    owner = method.__self__  # type: ignore[attr-defined] # of a bound method
    signal.connect(method, dispatch_uid=f"{method.__qualname__}:{id(owner)}", **options)


def is_configured(app: Any) -> bool:
    """Return whether a Celery app has read its configuration, which the types of Celery leave out."""
    return bool(app.configured)


def batch(producer: Any) -> AbstractContextManager[Any]:
    """Send the messages of the block together; before kombu 5.7, one by one."""
    return producer.batch() if hasattr(producer, "batch") else nullcontext()


def keep_client(channel: Any) -> None:
    """Make a channel of kombu's Redis transport keep its Redis client.

    It makes a client for each batch, with a table of all commands, which takes longer than to encode a message.
    """
    if hasattr(channel, "_create_client"):
        channel._create_client = lru_cache(maxsize=2)(channel._create_client)  # noqa: SLF001 - there is no public way


def add_queue(queues: Any, queue: Any) -> Any:
    """Add a queue that workers consume only if it is named in their ``-Q``, to the queues of a Celery app.

    In older versions of Celery, workers without ``-Q`` consume every queue that was added.
    """
    if queues.consume_from is queues:
        queues.select(list(queues))  # what they consumed so far; ``-Q`` still overrules it
    return queues.add(queue)


def as_json_type(value: Any) -> Any:
    """Convert a value of a type that older versions of pydantic refuse, such as a deque or an IP address.

    Raises:
        ValueError: the type has no JSON form in any version.
    """
    kind = type(value)  # not isinstance(), which evaluates a lazy object
    if issubclass(kind, deque):
        return list(value)
    if issubclass(kind, _IP):
        return str(value)
    raise ValueError(f"Unable to serialize unknown type: {kind}")


def shut_down(response: Any) -> None:
    """Shut the connection of a urllib3 response down, which wakes a thread that reads from it.

    Raises:
        AttributeError: the response is not connected any more.
        OSError: the connection is closed.
    """
    if hasattr(response, "shutdown"):
        response.shutdown()
    else:  # urllib3 before 2.3
        response._fp.fp.raw._sock.shutdown(socket.SHUT_RD)  # noqa: SLF001 - there is no public way


def with_base64_bytes(adapter: TypeAdapter[Any]) -> TypeAdapter[Any]:
    """Make ``adapter`` read bytes from base64, as its ``val_json_bytes`` says; pydantic before 2.9 ignores that."""
    if not _CAN_VALIDATE_BASE64:
        adapter.validator = SchemaValidator(_reading_base64(adapter.core_schema))
    return adapter


def _reading_base64(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_reading_base64(item) for item in schema)
    if not isinstance(schema, dict) or schema.get("type") in _OWN_CONFIG:
        return schema
    if schema.get("type") == "bytes":
        return core_schema.no_info_before_validator_function(_decode, schema)
    return {key: _reading_base64(value) for key, value in schema.items()}


def _decode(value: Any) -> Any:
    return urlsafe_b64decode(value) if isinstance(value, str) else value


def signal_keeps_its_list() -> bool:
    """Return whether a signal of Celery changes its list of receivers in place, as from Celery 5.7 on."""
    signal: Any = Signal()
    receivers = signal.receivers
    signal._dead_receivers = True  # noqa: SLF001 - what the end of a receiver sets
    signal.connect(lambda **_: None, weak=False)
    return signal.receivers is receivers
