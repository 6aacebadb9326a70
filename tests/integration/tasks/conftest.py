"""A case of the LiveCheck in this process."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    """A case with fake requests every 0.2 s."""
    return livecheck.add_case(type("test_order", (Case,), {}), name="shop.test_order", frequency=0.2)
