"""Durations as text."""

from __future__ import annotations

import pytest

from livecheck_celery.utils.durations import in_seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.000 s"), (0.00025, "0.000250 s"), (0.0123, "0.012 s"), (10.0042, "10.004 s"), (-0.0001, "0.000 s")],
)
def test_time_of_a_fast_test_is_not_shown_as_zero(value: float, text: str) -> None:
    assert in_seconds(value) == text
