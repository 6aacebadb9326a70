"""Signatures of text with secret keys: the first key signs, and signatures by any of them are genuine."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from itsdangerous import Signer

_ID_OF_KEY: Final = b"livecheck-celery.key-id"
_ID_LENGTH: Final = 8


def key_id(key: str) -> str:
    """Return the public name of a key, which tells nothing about it: 8 hexadecimal digits."""
    return hmac.new(key.encode(), _ID_OF_KEY, hashlib.sha256).hexdigest()[:_ID_LENGTH]


class Signatures:
    """Makes and verifies signatures, each of which begins with the `key_id` of its key.

    Args:
        keys: the secret keys; without one, nothing is genuine.
        salt: what is signed, so that a signature for one purpose is none for another.
    """

    def __init__(self, keys: Sequence[str], salt: str) -> None:
        self._signers = {key_id(key): Signer(key, salt=salt, digest_method=hashlib.sha256) for key in keys}
        self._own_id = next(iter(self._signers), "")

    def __bool__(self) -> bool:
        return bool(self._signers)

    def knows(self, signature: str) -> bool:
        """Return whether ``signature`` names one of the keys."""
        return signature.partition(".")[0] in self._signers

    def sign(self, text: str) -> str:
        """Return the signature of ``text`` with the first key."""
        return f"{self._own_id}.{self._signers[self._own_id].get_signature(text).decode()}"

    def is_genuine(self, signature: str, text: str) -> bool:
        """Return whether one of the keys signed ``text``."""
        name, _, value = signature.partition(".")
        return name in self._signers and value.isascii() and self._signers[name].verify_signature(text, value)
