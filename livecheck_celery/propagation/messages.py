"""Propagation over any other transport, such as Kafka: inject the current test into headers, and extract it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from livecheck_celery.blocks import Work, current_work, is_anything_in_force
from livecheck_celery.guard import GUARD
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.deferral import follow_frameworks
from livecheck_celery.propagation.gate import KNOWN_HEADERS, OWN_HEADERS, Gate
from livecheck_celery.propagation.headers import NOTHING


def inject(gate: Gate, headers: MutableMapping[str, str] | list[tuple[str, bytes]]) -> None:
    """Add the signed headers of the current test to ``headers``, in place of LiveCheck's headers in them.

    Does nothing outside a test or a fake request. Never raises: headers that cannot be changed are left as they are.

    Args:
        gate: signs the headers.
        headers: a mapping, which gets values of ``str``; or a list, which gets pairs of ``str`` and ``bytes`` as Kafka
            clients use them.
    """
    if not is_anything_in_force():
        return
    with GUARD("inject", "messages: failed to add the test to the headers of a message; continuing"):
        own = gate.headers()
        if not own:
            return
        if isinstance(headers, list):
            headers[:] = [pair for pair in headers if not _is_own(pair[0])]
            headers.extend((name, value.encode("ascii")) for name, value in own.items())
        else:
            # keys(), because iterating over some header types yields pairs.
            for name in [name for name in headers.keys() if _is_own(name)]:  # noqa: SIM118
                del headers[name]
            for name, value in own.items():
                headers[name] = value


@contextmanager
def extract(
    gate: Gate, headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
) -> Iterator[TestExecution | None]:
    """Run the block as part of the test in ``headers``, and of no other; yield that test, or None.

    Never raises: headers that are not trusted, or cannot be read, carry no test.

    Args:
        gate: decides whether to trust the headers.
        headers: a mapping or pairs; names in any case; names and values ``str`` or ``bytes``.
    """
    carried = NOTHING
    with GUARD("extract", "messages: failed to read the headers of a message; it carries no test"):
        carried = gate.accept(list(_known_headers(headers)), has_audience=False)
        if carried is not NOTHING:
            follow_frameworks()
    with Work(carried.tests, carried.mark, outer=current_work()):
        yield carried.test


def _known_headers(headers: Any) -> Iterator[tuple[str, Any]]:
    if headers is None:
        return
    pairs = headers.items() if hasattr(headers, "items") else headers
    for name, value in pairs:
        text = _decode(name)
        known = KNOWN_HEADERS.get(text.lower()) if isinstance(text, str) else None
        if known is not None:
            yield known, _decode(value)


def _is_own(name: object) -> bool:
    text = _decode(name)
    return isinstance(text, str) and text.lower() in OWN_HEADERS


def _decode(value: object) -> object:
    return bytes(value).decode("latin-1") if isinstance(value, bytes | bytearray | memoryview) else value
