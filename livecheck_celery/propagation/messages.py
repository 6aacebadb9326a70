"""The current test as headers of messages whose transport LiveCheck does not know, such as Kafka's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.gate import LOOKED_AT, OWN, Gate


def inject(gate: Gate, headers: MutableMapping[str, str] | list[tuple[str, bytes]]) -> None:
    """Add what is current to ``headers``, signed; in place of what they carry already, if anything is current.

    A list is given pairs of ``str`` and ``bytes``, as Kafka clients have them. Never raises: what cannot be changed
    stays as it is.
    """
    with suppress(Exception):
        ours = gate.headers()
        if not ours:
            return
        if isinstance(headers, list):
            headers[:] = [pair for pair in headers if not _is_own(pair[0])]
            headers.extend((name, value.encode("ascii")) for name, value in ours.items())
        else:
            for name in [name for name in headers.keys() if _is_own(name)]:  # noqa: SIM118 - iterating some gives pairs
                del headers[name]
            for name, value in ours.items():
                headers[name] = value


@contextmanager
def extract(
    gate: Gate, headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
) -> Iterator[TestExecution | None]:
    """Make the block part of what ``headers`` carry, and of nothing else; gives the test, or None.

    Names may be in any case, names and values ``str`` or ``bytes``. Never raises: headers that cannot be believed, or
    read, carry nothing.
    """
    carried = carrier.NOTHING
    with suppress(Exception):
        carried = gate.accept(_ours(headers))
    tokens = carrier.enter(carried)
    try:
        yield carried.test
    finally:
        carrier.leave(tokens)


def _ours(headers: Any) -> Iterator[tuple[str, Any]]:
    if headers is None:
        return
    pairs = headers.items() if hasattr(headers, "items") else headers
    for name, value in pairs:
        known = _known(name)
        if known is not None:
            yield known, _as_text(value)


def _is_own(name: object) -> bool:
    text = _as_text(name)
    return isinstance(text, str) and text.lower() in OWN


def _known(name: object) -> str | None:
    text = _as_text(name)
    return LOOKED_AT.get(text.lower()) if isinstance(text, str) else None


def _as_text(value: object) -> object:
    return bytes(value).decode("latin-1") if isinstance(value, bytes | bytearray | memoryview) else value
