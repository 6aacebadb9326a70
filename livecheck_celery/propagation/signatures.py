"""Signatures of HTTP headers, made with the secret keys that the services share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from livecheck_celery.models import HEADER_AUDIENCE, HEADER_LAYOUT, HEADER_OUTER, HEADER_SIGNATURE
from livecheck_celery.propagation.headers import HEADERS, MAX_HEADER
from livecheck_celery.utils.own_random import OWN
from livecheck_celery.utils.signing import Signatures

#: What the signature covers, if it is there. The signature of the outer tests is in their value, so that receivers can
#: ignore them.
_SIGNED: Final = (*HEADERS, HEADER_AUDIENCE, HEADER_LAYOUT)
_SALT: Final = "livecheck-celery.headers"


class Keyring:
    """Secret keys: the first one signs, and signatures by any of them are accepted.

    A signature begins with the id of its key, and ends with a random number, by which receivers tell a request that is
    sent again from other requests of the same test.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._signatures = Signatures(keys, _SALT)

    def __bool__(self) -> bool:
        return bool(self._signatures)

    def knows(self, signature: str) -> bool:
        """Return whether ``signature`` names one of the keys."""
        return self._signatures.knows(signature)

    def sign(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return ``headers`` with a signature made with the first key, which differs each time."""
        nonce = f"{OWN.getrandbits(64):016x}"
        signature = f"{self._signatures.sign(_text(headers, nonce))}.{nonce}"
        signed = {**headers, HEADER_SIGNATURE: signature}
        if HEADER_OUTER in headers:
            signed[HEADER_OUTER] += "." + self._signatures.sign(_outer_text(headers[HEADER_OUTER], signature))
        return signed

    def verify(self, headers: Mapping[str, Any]) -> Mapping[str, str] | None:
        """Return the LiveCheck headers in ``headers``, without others, if one of the keys signed them; else None.

        The outer tests are left out if they are not signed together with the innermost one.
        """
        signature = headers.get(HEADER_SIGNATURE)
        carried = {name: headers[name] for name in _SIGNED if name in headers}
        if not carried or not _is_plausible(signature) or not all(map(_is_plausible, carried.values())):
            return None
        genuine, _, nonce = signature.rpartition(".")
        if not self._signatures.is_genuine(genuine, _text(carried, nonce)):
            return None
        outer = headers.get(HEADER_OUTER)
        if _is_plausible(outer):
            packed, _, rest = outer.partition(".")
            if self._signatures.is_genuine(rest, _outer_text(packed, signature)):
                carried[HEADER_OUTER] = packed
        return carried


def _is_plausible(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_HEADER


def _outer_text(packed: str, signature: str) -> str:
    # Bound to the signature of the innermost test, so that outer tests cannot be moved to another message.
    return json.dumps([[HEADER_OUTER, packed], [HEADER_SIGNATURE, signature]])


def _text(headers: Mapping[str, str], nonce: str) -> str:
    # JSON delimits names and values, so that no text can be moved from one header to another.
    return json.dumps([[name, headers[name]] for name in _SIGNED if name in headers] + [[HEADER_SIGNATURE, nonce]])
