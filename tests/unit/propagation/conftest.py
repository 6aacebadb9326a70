"""What the gate of a test records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.signing import same_signatures


@pytest.fixture(scope="module")
def same_signature() -> Iterator[None]:
    """Signatures of the same headers are the same."""
    with same_signatures():
        yield


@pytest.fixture
def finished() -> list[dict[str, Any]]:
    """The outcomes of requests, for `factories.make_gate`."""
    return []
