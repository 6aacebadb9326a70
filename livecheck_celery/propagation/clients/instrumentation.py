"""Methods of HTTP clients, replaced so that their requests carry the current test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from livecheck_celery.blocks import is_anything_in_force
from livecheck_celery.guard import GUARD
from livecheck_celery.models import HEADER_OUTER, HEADER_SIGNATURE
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.replacements import Replacements

T = TypeVar("T")

#: Headers that contain a signature.
_SIGNATURES: Final = (HEADER_SIGNATURE, HEADER_OUTER)


class Instrumentation(Replacements):
    """The methods that one call of ``instrument`` replaced.

    Args:
        gate: builds the headers, until `undo`.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate: Gate | None = gate

    def undo(self) -> None:
        """Restore the methods; one that another library has wrapped sends requests unchanged."""
        self._gate = None
        super().undo()

    def answered(self, read: Callable[[], tuple[str, int, Mapping[str, str]]]) -> None:
        """Note the answer to a request that carried headers.

        ``read`` returns the arguments of `Gate.answered`. An error is logged, never raised.
        """
        gate = self._gate
        if gate is None:
            return
        with GUARD("answer", "instrument: failed to note the answer to a request; continuing"):
            gate.answered(*read())

    def apply(self, add: Callable[[Gate], T | None], *, always: bool = False) -> T | None:
        """Return ``add(gate)``, or None if the request must be sent unchanged.

        Outside a test this costs one context variable look-up, unless ``add`` is ``always`` called. An error in ``add``
        is logged, never raised.
        """
        gate = self._gate
        if gate is None or not (always or is_anything_in_force()):
            return None
        with GUARD("instrument", "instrument: failed to add headers to a request; sending it without them"):
            return add(gate)
        return None


def has_all(headers: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Return whether a client above this one, such as requests above urllib3, has added ``own`` to ``headers``.

    Two signatures of the same headers differ.
    """
    return all(headers.get(name) == value for name, value in own.items() if name not in _SIGNATURES) and all(
        name in headers for name in own
    )
