"""What the gate of a test records."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def finished() -> list[dict[str, Any]]:
    """The outcomes of requests, for `factories.make_gate`."""
    return []
