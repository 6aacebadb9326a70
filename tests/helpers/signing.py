"""Sign and verify headers with keys given as text."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from livecheck_celery.context import under_test
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import signatures
from livecheck_celery.propagation.headers import outgoing
from livecheck_celery.propagation.signatures import Keyring


def headers_of(test: TestExecution) -> dict[str, str]:
    """Return the unsigned headers of a request that is part of ``test``, with the mark of the test."""
    with under_test(test):
        return outgoing()


def same_signatures() -> Any:
    """Sign the same headers with the same signature, in the block."""
    return patch.object(signatures, "OWN", SimpleNamespace(getrandbits=lambda _: 0))


def sign(headers: Mapping[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    """Return ``headers`` with a signature made with the first of ``keys``, which is the same each time."""
    with same_signatures():
        return Keyring(keys).sign(headers)


def verify(headers: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return the signed LiveCheck headers in ``headers``; None if none of ``keys`` signed them."""
    return Keyring(keys).verify(headers)
